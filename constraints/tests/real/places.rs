//! What a runner says to a binary about places.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::harness::start_hanging;
use crate::run::{Finished, Sample};

/// Elsewhere an unmet test that was named is a skip, and not the failure that it is to a person: the
/// runner has other places to try.
#[test]
fn in_a_place_a_named_test_may_be_skipped_and_its_record_says_where() {
    let sample = Sample::build("sample");
    let args = ["--exact", "cases::needs::much"];
    assert_eq!(sample.run(&args).code, Some(101));
    let mut command = sample.command(&args);
    command.env("KATA_TEST_PLACE", "vm:far");
    assert_eq!(Finished::by(command).code, Some(0));
    let recorded = sample.recorded();
    let last = recorded
        .lines()
        .find(|line| line.contains(r#""place":"vm:far""#));
    assert!(
        last.expect("a record").contains(r#""outcome":"skipped""#),
        "{recorded}"
    );
}

#[test]
fn an_excluded_test_does_not_run() {
    let sample = Sample::build("sample");
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list");
    let test = "cases::fails::by_panicking";
    fs::write(&list, format!("kata-test::sample\t{test}\tvm:far\n")).expect("a list");
    let mut command = sample.command(&["by_panicking"]);
    command
        .env("SAMPLE", "fail")
        .env("KATA_TEST_EXCLUDE_FILE", &list);
    let out = Finished::by(command);
    assert!(
        out.line(test).ends_with("... ignored, runs in vm:far"),
        "{out:?}"
    );
    let recorded = sample.recorded();
    assert!(
        !recorded.contains(&format!(r#""test":"{test}""#)),
        "its record comes from there: {recorded}"
    );
}

/// Only cargo has the real name of `pkg::end_to_end`.
#[test]
fn a_binary_has_the_id_that_its_runner_states_if_it_fits() {
    let sample = Sample::build("sample");
    let list = tempfile::NamedTempFile::new().expect("a file");
    let executable = sample.command(&[]).get_program().to_owned();
    let entries = [
        b"other::it\t/other\n\xff\0kata-test::example/sample\t",
        executable.as_bytes(),
        b"\0",
    ];
    fs::write(list.path(), entries.concat()).expect("a list");
    let list = list.path().to_str().expect("text");
    for (run, variables, id) in [
        ("guessed", vec![], "kata-test::sample"),
        (
            "started",
            vec![("KATA_TEST_BINARY_ID", "kata-test::bin/sample")],
            "kata-test::bin/sample",
        ),
        (
            "listed",
            vec![("KATA_TEST_BINARY_IDS", list)],
            "kata-test::example/sample",
        ),
        (
            "nextest",
            vec![("NEXTEST_BINARY_ID", "kata-test::bench/sample")],
            "kata-test::bench/sample",
        ),
        // A test that starts a test binary hands its own variables down.
        (
            "inherited",
            vec![
                ("KATA_TEST_BINARY_ID", "kata-test::real"),
                ("NEXTEST_BINARY_ID", "kata-test"),
            ],
            "kata-test::sample",
        ),
    ] {
        let mut command = sample.command(&["--exact", "cases::passes::with_a_result"]);
        command.envs(variables).env("KATA_TEST_RUN", run);
        assert_eq!(Finished::by(command).code, Some(0));
        let recorded = sample.recorded();
        let expected = format!(r#""binary":"{id}","#);
        assert!(
            !recorded.is_empty() && recorded.lines().all(|line| line.contains(&expected)),
            "{run}: {recorded}"
        );
    }
}

#[test]
fn variables_that_cannot_be_handed_down_come_from_a_file() {
    let sample = Sample::build("sample");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let variables = [
        "SAMPLE=hang",
        "UID=7",
        "SHELLOPTS=x",
        "no.name-of a shell=it's \"x\"\n\n`y` $Z",
        "EMPTY=",
    ];
    let text = format!("/\0{}", variables.join("\0"));
    fs::write(file.path(), text).expect("a file");
    let mut command = sample.command(&["--exact", "cases::fails::by_hanging", "--nocapture"]);
    command
        .env("KATA_TEST_ENVIRONMENT", file.path())
        .env("KEPT", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let (mut harness, _) = start_hanging(command);
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", harness.id())).expect("a process");
    let environment = String::from_utf8(read("environ")).expect("text");
    let folder = fs::read_link(format!("/proc/{}/cwd", harness.id())).expect("a process");
    harness.kill().expect("it goes");
    harness.wait().expect("an end");
    assert_eq!(folder, std::path::Path::new("/"));
    let all: Vec<&str> = environment.split('\0').collect();
    for variable in variables.iter().chain(&["KEPT=1"]) {
        assert!(all.contains(variable), "{variable}: {environment}");
    }
    assert!(!environment.contains("KATA_TEST_ENVIRONMENT"));

    let mut command = sample.command(&[]);
    command.env("KATA_TEST_ENVIRONMENT", "/no/such/file");
    let out = Finished::by(command);
    assert!(
        out.stderr
            .starts_with("error: cannot take KATA_TEST_ENVIRONMENT from /no/such/file: "),
        "{out:?}"
    );
}

/// What a person has run before in the same shell is another run.
#[test]
fn two_runs_from_one_shell_have_records_of_their_own() {
    let sample = Sample::build("sample");
    let records = || fs::read_link(sample.records().join("latest")).expect("a link");
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut command = sample.command(&["--exact", "cases::passes::with_a_result"]);
        command.env_remove("KATA_TEST_RUN");
        assert_eq!(Finished::by(command).code, Some(0));
        runs.push(records());
    }
    assert_ne!(runs[0], runs[1]);
}
