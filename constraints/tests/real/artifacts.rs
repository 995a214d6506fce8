//! Files of tests come into the run's folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::run::{NOBODY, Sample, is_root};

/// The paths of all files below a folder.
fn files(folder: &Path, found: &mut Vec<String>, from: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a kind").is_dir() {
            true => files(&entry.path(), found, from),
            false => {
                let path = entry.path();
                let path = path.strip_prefix(from).expect("below");
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
}

#[test]
fn each_attempt_has_a_folder_in_the_runs_folder() {
    let sample = Sample::build("artifacts");
    let records = sample.records();
    // The folder of another user's, as under sudo.
    if is_root() {
        std::os::unix::fs::chown(&records, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    let out = sample.run(&[]);
    assert_eq!(out.code, Some(101), "{out:?}");
    let run = records.join("latest");
    let mut found = Vec::new();
    files(&run.join("artifacts"), &mut found, &run);
    let expected = [
        "aborts,1/file",
        "as_a_user,1/link",
        "as_a_user,1/private/file",
        "hangs,1/file",
        "is_flaky,1/deep/er/file",
        "is_flaky,2/deep/er/file",
        "names_of_one,1/file",
        "names~~of_one,1/file",
    ];
    let at = |path| format!("artifacts/here/kata-test~~artifacts/{path}");
    assert_eq!(found, expected.map(at));
    if is_root() {
        for path in [
            "as_a_user,1/private",
            "as_a_user,1/private/file",
            "hangs,1/file",
        ] {
            let data = fs::symlink_metadata(run.join(at(path))).expect(path);
            assert_eq!(data.uid(), NOBODY, "{path}");
        }
    }
    let mut recorded = BTreeMap::new();
    for line in sample.recorded().lines() {
        let mut line: Value = serde_json::from_str(line).expect("a record");
        let key = (line["test"].to_string(), line["attempt"].to_string());
        recorded.insert(key, line["artifacts"].take());
    }
    let of = |test: &str, attempt: &str| {
        let key = (format!("\"{test}\""), attempt.to_owned());
        recorded.get(&key).expect("a record").clone()
    };
    assert_eq!(of("writes_nothing", "1"), Value::Null);
    let expected = serde_json::json!({
        "folder": at("is_flaky,2"), "files": 1, "bytes": 4,
    });
    assert_eq!(of("is_flaky", "2"), expected);
    assert_eq!(of("as_a_user", "1")["files"], 1, "links are not counted");
    assert_eq!(of("aborts", "1")["bytes"], 4);
    assert_eq!(of("hangs", "1")["bytes"], 4);
}

/// As under nextest: a process for each test, and their own attempts.
#[test]
fn processes_of_one_run_do_not_meet() {
    let sample = Sample::build("artifacts");
    for attempt in ["1", "2", "2"] {
        let mut command = sample.command(&["--exact", "names_of_one"]);
        command.env("NEXTEST_ATTEMPT", attempt);
        let out = crate::run::Finished::by(command);
        assert_eq!(out.code, Some(0), "{out:?}");
    }
    let run = sample.records().join("latest/artifacts");
    let mut found = Vec::new();
    files(&run, &mut found, &run);
    let expected = ["1", "2,2", "2"];
    let at = |attempt| format!("here/kata-test~~artifacts/names_of_one,{attempt}/file");
    assert_eq!(found, expected.map(at));
}
