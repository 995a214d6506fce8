//! The end of tests: by their timeout, by Ctrl-C and by Ctrl-Z.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::harness::is_alive;
use crate::run::{Finished, Sample};

static HOSTILE: LazyLock<Sample> = LazyLock::new(|| Sample::build("hostile"));

/// A harness whose one test waits.
struct Waiting {
    harness: Child,
    pid: Pid,
    test: i32,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Waiting {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, which has a parent outside: the kernel lets it be stopped.
        command.process_group(0);
        let mut harness = command.spawn().expect("a process");
        let mut stderr = BufReader::new(harness.stderr.take().expect("a pipe")).lines();
        let line = stderr.next().expect("a line").expect("text");
        let test = line.strip_prefix("waiting as ").expect("the pid");
        Self {
            pid: Pid::from_raw(i32::try_from(harness.id()).expect("a pid")),
            harness,
            test: test.parse().expect("a pid"),
            stderr,
        }
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("kill");
    }

    /// What it printed, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut out = String::new();
        let mut stdout = self.harness.stdout.take().expect("a pipe");
        stdout.read_to_string(&mut out).expect("text");
        (out, self.harness.wait().expect("an end").code())
    }
}

fn hanging(test: &str) -> Command {
    let mut command = HOSTILE.command(&["--exact", test, "--nocapture"]);
    command.env("SAMPLE", "hang");
    command
}

#[test]
fn a_timeout_terminates_and_then_kills() {
    set_child_subreaper(true).expect("orphans");
    let mut command = HOSTILE.command(&["stops::in_time", "--skip", "another_user"]);
    command
        .env("SAMPLE", "hang")
        .env("KATA_TEST_GRACE", "800ms");
    let start = Instant::now();
    let out = Finished::by(command);
    assert!(start.elapsed() < Duration::from_secs(30), "it did not kill");
    assert_eq!(out.code, Some(101), "{out:?}");
    for test in [
        "in_time_handling_sigterm",
        "in_time_ignoring_sigterm",
        "in_time_with_a_child",
    ] {
        let line = out.line(&format!("stops::{test}"));
        assert!(line.ends_with("FAILED (timed out after 300ms)"), "{line}");
    }
    for (count, text) in [
        (1, "\ncleaned up\n"),
        (1, "\nthe child cleaned up\n"),
        (
            2,
            "note: timed out after 300ms; terminated its process group\n",
        ),
        (
            1,
            "note: timed out after 300ms; killed its process group, which did not end within \
             800ms of SIGTERM\n",
        ),
    ] {
        assert_eq!(
            out.stdout.matches(text).count(),
            count,
            "{text}: {}",
            out.stdout
        );
    }
    assert!(!out.stdout.contains("left behind:"), "{}", out.stdout);
}

#[test]
fn an_invalid_grace_period_is_refused() {
    let mut command = HOSTILE.command(&["--exact", "stops::handling_sigterm"]);
    command.env("KATA_TEST_GRACE", "5");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101), "{out:?}");
    let error = "error: KATA_TEST_GRACE must be a duration such as 500ms, 2s or 1m (was \"5\")\n";
    assert_eq!(out.stderr, error);
}

#[test]
fn ctrl_c_terminates_and_then_kills() {
    set_child_subreaper(true).expect("orphans");
    for (test, grace, result, text) in [
        (
            "stops::handling_sigterm",
            "60s",
            "\ncleaned up\n",
            "note: interrupted by SIGINT; terminated its process group\n",
        ),
        (
            "stops::ignoring_sigterm",
            "300ms",
            "",
            "note: interrupted by SIGINT; killed its process group, which did not end within 300ms \
             of SIGTERM\n",
        ),
    ] {
        let mut command = hanging(test);
        command.env("KATA_TEST_GRACE", grace);
        let waiting = Waiting::start(command);
        let test = waiting.test;
        waiting.signal(Signal::SIGINT);
        let start = Instant::now();
        let (out, code) = waiting.end();
        assert!(start.elapsed() < Duration::from_secs(30), "it did not end");
        assert_eq!(code, Some(130), "{out}");
        assert!(out.contains(result) && out.contains(text), "{out}");
        assert!(out.contains("FAILED (interrupted by SIGINT)"), "{out}");
        assert!(!is_alive(test), "process {test} is still there");
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    set_child_subreaper(true).expect("orphans");
    let mut command = hanging("stops::ignoring_sigterm");
    command.env("KATA_TEST_GRACE", "60s");
    let mut waiting = Waiting::start(command);
    let test = waiting.test;
    waiting.signal(Signal::SIGINT);
    let line = waiting.stderr.next().expect("a line").expect("text");
    let notice = "SIGINT: terminating the running tests (a second signal kills them)";
    assert_eq!(line, notice);
    waiting.signal(Signal::SIGINT);
    let start = Instant::now();
    let (out, code) = waiting.end();
    assert!(start.elapsed() < Duration::from_secs(10), "it did not end");
    assert_eq!(code, Some(130), "{out}");
    assert!(
        out.contains("note: interrupted by SIGINT; killed its process group\n"),
        "{out}"
    );
    assert!(!is_alive(test), "process {test} is still there");
}

/// Says whether a process is stopped, as /proc has it.
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, tail) = stat.rsplit_once(") ").expect("the end of its name");
    tail.starts_with('T')
}

#[test]
fn ctrl_z_stops_the_tests_and_their_clocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("end");
    let mut command = HOSTILE.command(&["--exact", "stops::in_time_by_itself", "--nocapture"]);
    command.env("ENDS_WITH", &file);
    let waiting = Waiting::start(command);
    waiting.signal(Signal::SIGTSTP);
    let status = waitpid(waiting.pid, Some(WaitPidFlag::WUNTRACED)).expect("a stop");
    assert_eq!(status, WaitStatus::Stopped(waiting.pid, Signal::SIGTSTP));
    // SIGSTOP has been sent; the scheduler says when it takes effect.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_stopped(waiting.test) {
        assert!(Instant::now() < deadline, "the test runs on");
        std::thread::sleep(Duration::from_millis(1));
    }
    // More than its timeout.
    std::thread::sleep(Duration::from_millis(1500));
    fs::write(&file, "").expect("a file");
    waiting.signal(Signal::SIGCONT);
    let (out, code) = waiting.end();
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("1 passed"), "{out}");
}
