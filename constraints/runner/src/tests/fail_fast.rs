//! Scope: plain tests on this host that end early, in an executable that is a script.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::Command;

use crate::{
    Attempts, Binary, CandidatePlace, PlainOptions, PlainRun, PlainTest, Reporter, Run, StopToken,
    TestId, TestSettings, run_plain,
};

/// The test `fails` once `repeats` has begun, which counts how often it runs.
const SCRIPT: &str = r#"#!/bin/sh
case "$2" in
    fails) read -r _ < begun; exit 101 ;;
    repeats) mkdir first 2> /dev/null && echo > begun; echo >> count ;;
esac
echo "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured"
"#;

/// Another process writes the script: this one may be starting a process, which would have the file open.
fn write_script(folder: &Path) {
    let mut command = Command::new("sh");
    let write = "printf %s \"$0\" > tests && chmod +x tests && mkfifo begun";
    let status = command.args(["-c", write, SCRIPT]).current_dir(folder);
    assert!(status.status().expect("a shell").success());
}

#[test]
fn the_first_failure_ends_the_repetitions_of_other_tests() {
    const REPEAT: u32 = 1000;
    let folder = tempfile::tempdir().expect("a folder");
    write_script(folder.path());
    let run = Run::start(&folder.path().join("records")).expect("a run");
    let test = |name: &str| PlainTest {
        id: TestId::new("p::it", name),
        ignored: None,
        runs: true,
        settings: TestSettings::default(),
    };
    let options = PlainOptions {
        threads: NonZeroUsize::new(2).expect("a number"),
        fail_fast: true,
        attempts: Attempts {
            repeat: NonZeroU32::new(REPEAT).expect("a number"),
            ..Attempts::default()
        },
        ..PlainOptions::default()
    };
    let plain = PlainRun {
        binaries: &[Binary {
            id: "p::it".to_owned(),
            executable: folder.path().join("tests"),
            folder: folder.path().to_owned(),
            ..Binary::default()
        }],
        tests: &["fails", "repeats"].map(test),
        run: &run,
        options: &options,
        program: None,
    };
    let mut reporter = Reporter {
        progress: &mut |_| {},
        output: &mut |_| {},
        stop: StopToken::NEVER,
    };
    run_plain(&plain, &mut [CandidatePlace::Here], &mut reporter).expect("records");
    let count = fs::read(folder.path().join("count"))
        .expect("a count")
        .len();
    assert!(
        (1..REPEAT as usize).contains(&count),
        "it ran {count} times"
    );
}
