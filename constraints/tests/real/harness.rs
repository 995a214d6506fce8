//! The sample under our own harness.
//!
//! Scope: what a person sees, exit codes, records. What nextest makes of it is in `tests/nextest.rs`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::run::{Finished, Sample};

/// Built once; a test that looks at records takes its own.
static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::build("sample"));

/// What a probe of the sample prints to standard output, which is no place for it.
const PROBE_SAYS: &str = "a probe that prints must not spoil the list\n";

/// kvm differs from host to host, so the sample has no test for it: see the tests of `facts`. How it
/// all looks to root is in `tests/privileged.rs`.
#[test]
fn as_an_unprivileged_user() {
    let sample = Sample::build("sample");
    let out = sample.run_unprivileged(&["--test-threads=1"]);
    assert_eq!((out.code, out.stderr.as_str()), (Some(0), PROBE_SAYS));
    insta::assert_snapshot!(out.stable());
}

#[test]
fn failures_show_output_and_cause() {
    let mut command = SAMPLE.command(&["fails::", "broken", "--test-threads=1"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101));
    insta::assert_snapshot!(out.stable());
}

/// The leaked process holds these pipes, so they end only with it.
#[test]
fn a_leaked_process_is_killed() {
    set_child_subreaper(true).expect("orphans");
    let args = [
        "--exact",
        "cases::fails::by_a_process_left_behind",
        "--nocapture",
    ];
    let mut command = SAMPLE.command(&args);
    command.env("SAMPLE", "fail");
    let start = Instant::now();
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101));
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "it ended by itself"
    );
    let (_, tail) = out.stderr.split_once("left behind: ").expect("the pid");
    let pid = tail
        .lines()
        .next()
        .expect("a line")
        .trim()
        .parse()
        .expect("a pid");
    assert!(!is_alive(pid), "process {pid} is still there");
}

/// Says whether a process is there. Its pipes have ended, so if it is being killed it is about to
/// end; orphans come to this process and are waited for.
pub(crate) fn is_alive(pid: i32) -> bool {
    let _ = waitpid(Pid::from_raw(pid), None);
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn filters_lists_and_exit_codes() {
    let run = |args: &[&str]| {
        let out = SAMPLE.run(args);
        (out.stable(), out.code)
    };
    let list = "cases::ignored::plainly: test\ncases::ignored::with_a_reason_and_unmet: test\n";
    assert_eq!(
        run(&["--list", "--format=terse", "--ignored"]),
        (list.to_owned(), Some(0))
    );
    let (all, _) = run(&["--list"]);
    assert!(all.ends_with("\n21 tests, 0 benchmarks\n"), "{all}");
    assert_eq!(run(&["--bench"]), (String::new(), Some(0)));
    let (text, code) = run(&["passes", "root", "--skip", "non_root", "-q"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("\nrunning 6 tests\n"), "{text}");
    assert!(text.contains("; 15 filtered out; finished"), "{text}");
    let (text, code) = run(&["--exact", "passes"]);
    assert!(
        text.contains("running 0 tests") && code == Some(0),
        "{text}"
    );
    let out = SAMPLE.run(&["--test-threads", "0"]);
    assert_eq!(out.code, Some(101));
    assert!(
        out.stderr.starts_with("error: argument for --test-threads"),
        "{}",
        out.stderr
    );
}

#[test]
fn ignored_tests_are_forced_and_unmet_ones_are_not() {
    let out = SAMPLE.run(&["--ignored"]);
    assert_eq!(out.code, Some(101));
    assert_eq!(
        out.line("cases::ignored::plainly"),
        "test cases::ignored::plainly ... FAILED"
    );
    let unmet = out.line("cases::ignored::with_a_reason_and_unmet");
    assert!(
        unmet.contains(" ... ignored, needs kernel >= 99.1: kernel is "),
        "{unmet}"
    );
    assert!(
        out.stdout.contains("ignored tests can be forced"),
        "{}",
        out.stdout
    );
}

#[test]
fn output_is_colored_only_on_request() {
    let args = ["--exact", "cases::passes::with_a_result"];
    let line = |out: &Finished| out.line("cases::passes::with_a_result").to_owned();
    assert!(line(&SAMPLE.run(&args)).ends_with("... ok"));
    let colored = SAMPLE.run(&[&args[..], &["--color=always"]].concat());
    assert!(line(&colored).ends_with("... \x1b[32mok\x1b[0m"));
}

#[test]
fn nocapture_and_show_output_show_output() {
    let args = ["--exact", "cases::passes::with_measures"];
    let text = "captured, and thrown away";
    assert!(!SAMPLE.run(&args).stdout.contains(text));
    for option in ["--nocapture", "--show-output"] {
        let out = SAMPLE.run(&[&args[..], &[option]].concat());
        assert!(out.stdout.contains(text), "{option}: {}", out.stdout);
    }
}

/// Without a process of its own a test takes the harness along, and what is not on disk by then is
/// never written.
#[test]
fn a_test_that_ends_the_harness_is_recorded_as_lost() {
    let sample = Sample::build("sample");
    let mut command = sample.command(&["--in-process", "--exact", "cases::fails::by_abort"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    assert_eq!(out.code, None, "{out:?}");
    let recorded = sample.recorded();
    let last = recorded.lines().last().unwrap_or_default();
    assert!(
        last.contains("\"test\":\"cases::fails::by_abort\"")
            && last.contains("\"outcome\":\"lost\""),
        "{recorded}"
    );
}

#[test]
fn records_have_every_outcome() {
    let sample = Sample::build("sample");
    let mut command = sample.command(&["needs::", "passes::with_measures", "fails::by_abort"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101));
    let recorded = sample.recorded();
    let last = |test: &str| {
        let name = format!("\"test\":\"{test}\"");
        let line = recorded.lines().rfind(|line| line.contains(&name));
        line.unwrap_or_else(|| panic!("no record of {test} in {recorded}"))
    };
    let uid = nix::unistd::geteuid();
    let much = last("cases::needs::much");
    let start = format!(
        "{{\"schema\":1,\"run\":\"this\",\"binary\":\"kata-test::sample\",\
         \"test\":\"cases::needs::much\",\"place\":\"here\",\"phase\":\"run\",\"attempt\":1,\
         \"as_uid\":{uid},\"outcome\":\"skipped\",\"reasons\":[{{\"kind\":\"constraint\",\"constraint\":\"kernel >= 99.1\","
    );
    assert!(much.starts_with(&start), "{much}");
    let end = "\"constraint\":\"command no-such-command\",\"observed\":\"no executable file \
               no-such-command found\",\"source\":\"PATH\"}],\"issue\":\"x/1\",\"reason\":\"for \
               show\",\"signal\":null,\"duration_ms\":0,\"measures\":{}}";
    assert!(much.ends_with(end), "{much}");
    let measured = last("cases::passes::with_measures");
    assert!(
        measured.ends_with("\"measures\":{\"attach_ms\":12.5,\"count\":3}}"),
        "{measured}"
    );
    let aborted = last("cases::fails::by_abort");
    assert!(
        aborted.contains("\"outcome\":\"failed\"") && aborted.contains("\"SIGABRT\""),
        "{aborted}"
    );
    let broken = last("cases::needs::a_broken_probe");
    assert!(broken.contains("\"outcome\":\"undetermined\""), "{broken}");
    assert!(
        broken.contains("the probe panicked: the probe broke"),
        "{broken}"
    );
}

#[test]
fn a_list_for_nextest_records_each_test() {
    let sample = Sample::build("sample");
    let args = [
        "--list",
        "--format=terse",
        "--ignored",
        "needs::much",
        "passes::with_measures",
    ];
    let mut command = sample.command(&args);
    command.env("NEXTEST", "1");
    assert_eq!(Finished::by(command).stdout, "cases::needs::much: test\n");
    let recorded = sample.recorded();
    for (test, outcome) in [
        ("cases::needs::much", "skipped"),
        ("cases::passes::with_measures", "lost"),
    ] {
        let mut lines = recorded.lines();
        let line = lines.find(|line| line.contains(&format!("\"test\":\"{test}\"")));
        let line = line.unwrap_or_else(|| panic!("no record of {test} in {recorded}"));
        let outcome = format!("\"outcome\":\"{outcome}\"");
        assert!(
            line.contains("\"phase\":\"list\"") && line.contains(&outcome),
            "{line}"
        );
    }
}

#[test]
fn a_run_that_cannot_write_records_prints_it_once() {
    let mut command = SAMPLE.command(&["passes::"]);
    command.env("KATA_TEST_RECORD_DIR", "/proc/no-such-folder");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0));
    assert_eq!(
        out.stderr
            .matches("cannot write the records of this run")
            .count(),
        1,
        "{}",
        out.stderr
    );
}

/// Ctrl-C and a SIGKILL of the harness: neither leaves the test's process, both leave a record.
#[test]
fn an_ended_harness_takes_its_test_along() {
    set_child_subreaper(true).expect("orphans");
    for (signal, code) in [
        (Signal::SIGINT, Some(130)),
        (Signal::SIGTERM, Some(143)),
        (Signal::SIGKILL, None),
    ] {
        let sample = Sample::build("sample");
        let mut command = sample.command(&["--exact", "cases::fails::by_hanging", "--nocapture"]);
        command
            .env("SAMPLE", "hang")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (mut harness, test) = start_hanging(command);
        kill(
            Pid::from_raw(i32::try_from(harness.id()).expect("a pid")),
            signal,
        )
        .expect("kill");
        let mut stdout = harness.stdout.take().expect("a pipe");
        // The test holds the pipe too: its end means that both are gone.
        let mut out = String::new();
        let start = Instant::now();
        stdout.read_to_string(&mut out).expect("text");
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the test ended by itself"
        );
        assert_eq!(harness.wait().expect("an end").code(), code);
        assert!(!is_alive(test), "{signal}: process {test} is still there");
        let recorded = sample.recorded();
        assert!(recorded.contains("\"outcome\":\"lost\"") && recorded.lines().count() == 1);
        if code.is_some() {
            let line = format!("interrupted by {signal}: 0 not started");
            assert!(
                out.contains(&line) && out.contains("test result: FAILED"),
                "{out}"
            );
        }
    }
}

/// Starts a sample whose test prints its pid and then waits forever.
pub(crate) fn start_hanging(mut command: Command) -> (std::process::Child, i32) {
    let mut harness = command.spawn().expect("a process");
    let stderr = harness.stderr.take().expect("a pipe");
    let line = BufReader::new(stderr)
        .lines()
        .next()
        .expect("a line")
        .expect("text");
    let pid = line
        .strip_prefix("waiting as ")
        .expect("the pid")
        .parse()
        .expect("a pid");
    (harness, pid)
}

#[test]
fn only_a_test_requested_by_name_fails_instead_of_being_skipped() {
    let out = SAMPLE.run(&["needs::muc"]);
    assert_eq!(out.code, Some(0));
    assert!(
        out.stdout.contains("0 passed; 0 failed; 1 ignored"),
        "{}",
        out.stdout
    );
    for args in [
        &["cases::needs::much"][..],
        &["--exact", "cases::needs::much"],
    ] {
        let out = SAMPLE.run(args);
        assert_eq!(out.code, Some(101));
        assert!(
            out.stdout
                .contains("not run: needs kernel >= 99.1: kernel is ")
                && out.stdout.contains("requested by its full name"),
            "{}",
            out.stdout
        );
    }
}
