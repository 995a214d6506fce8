//! Hostile tests: each affects only its own outcome.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kata_test::kata_test;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{is_alive, start_hanging};
use crate::run::{Finished, Sample, is_root};

static HOSTILE: LazyLock<Sample> = LazyLock::new(|| Sample::build("hostile"));

/// As little address space as the harness needs: none for a hundred megabytes of output.
fn in_little_memory(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 60000; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(command.get_current_dir().expect("a directory"));
    limited
}

#[test]
fn each_hostile_test_is_one_outcome() {
    set_child_subreaper(true).expect("orphans");
    let sample = Sample::build("hostile");
    let mut command = sample.command(&["worst", "z_untouched", "--test-threads=2"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(in_little_memory(&command));
    assert_eq!(out.code, Some(101), "{out:?}");
    for (test, how) in [
        ("segfault", "FAILED (SIGSEGV)"),
        ("abort", "FAILED (SIGABRT)"),
        ("fail_at_the_exit", "FAILED"),
        ("infinite_loop", "FAILED (timed out after 700ms)"),
        ("hundred_megabytes", "FAILED"),
        ("closed_stdout", "ok"),
        ("fork_bomb_of_ten", "ok"),
        ("change_dir", "ok"),
        ("set_variable", "ok"),
    ] {
        let line = out.line(&format!("worst::{test}"));
        assert_eq!(line, format!("test worst::{test} ... {how}"));
    }
    for test in ["set_uid", "unshare_mounts"] {
        let ok = out.line(&format!("worst::{test}")).ends_with(" ... ok");
        assert_eq!(ok, is_root(), "{test}");
    }
    assert!(out.line("z_untouched::everything").ends_with("... ok"));
    assert!(out.stdout.contains("; 5 failed;"), "{}", out.stdout);
    let why = "the test's process exited with code 7 after the test passed";
    assert!(out.stdout.contains(why), "{}", out.stdout);

    let long = out.stdout.find("\nthe beginning\n").expect("the beginning");
    let dropped = out
        .stdout
        .find(" bytes of output dropped here]")
        .expect("a note");
    let end = out.stdout.find("\nthe end\n").expect("the end");
    assert!(long < dropped && dropped < end && out.stdout.len() < 2 << 20);
    let bomb = "    worst::fork_bomb_of_ten: process ";
    assert_eq!(out.stdout.matches(bomb).count(), 10, "{}", out.stdout);

    let (_, tail) = out.stdout.split_once("left behind: ").expect("the pid");
    let pid = tail.lines().next().expect("a line").parse().expect("a pid");
    assert!(!is_alive(pid), "process {pid} outlives its test's timeout");
    let recorded = sample.recorded();
    let timed_out = recorded
        .lines()
        .filter(|line| line.contains("\"outcome\":\"timed_out\""));
    assert_eq!(timed_out.count(), 1, "{recorded}");
}

/// The backtrace of a crash names the test. A process that holds the allocator's lock cannot have one.
#[test]
fn a_crash_has_a_backtrace() {
    let mut command = HOSTILE.command(&["crashes::"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    for (test, signal, text) in [
        ("null_pointer", "SIGSEGV", "the test crashed with SIGSEGV:"),
        ("abort", "SIGABRT", "the test crashed with SIGABRT:"),
        ("killed", "SIGSEGV", "the test crashed with SIGSEGV:"),
        ("stack_overflow", "SIGABRT", "has overflowed its stack"),
        ("in_the_allocator", "SIGSEGV", ""),
        ("null_pointer_in_a_thread", "SIGSEGV", ""),
        ("abort_beside_the_test", "SIGABRT", ""),
        (
            "abort_in_a_thread",
            "SIGABRT",
            "the test crashed with SIGABRT:",
        ),
    ] {
        let line = out.line(&format!("crashes::{test}"));
        assert_eq!(
            line,
            format!("test crashes::{test} ... FAILED ({signal})"),
            "{out:?}"
        );
        if text.is_empty() {
            continue;
        }
        let title = format!("---- crashes::{test} stdout ----");
        let (_, output) = out.stdout.split_once(&title).expect("its output");
        let output = output.split("\n---- ").next().expect("a part");
        assert!(output.contains(text), "{test}: {output}");
        let is_overflow = text.starts_with("has");
        let names_the_test = output.lines().any(|line| line.contains(test));
        let has_backtrace = output.contains("the test crashed") && names_the_test;
        assert_eq!(has_backtrace, !is_overflow, "{output}");
    }
    let forked = out
        .stdout
        .split("crashes::abort_in_a_forked_process stdout ----");
    let forked = forked.last().expect("its output");
    let forked = forked.split("\n---- ").next().expect("a part");
    assert!(
        forked.contains("Signaled") && !forked.contains("the test crashed"),
        "{forked}"
    );
}

/// A process that the test forks has its report's pipe too, and a payload's destructor runs outside
/// of what catches panics.
#[test]
fn only_the_tests_own_process_reports() {
    let mut command = HOSTILE.command(&["forks::"]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    let line = out.line("forks::a_child_that_skips");
    assert_eq!(line, "test forks::a_child_that_skips ... ok", "{out:?}");
    let line = out.line("forks::a_payload_that_panics");
    assert!(line.ends_with("... FAILED"), "{line}");
    let why = "expected panic with string value, found a value of another type";
    assert!(out.stdout.contains(why), "{}", out.stdout);
}

/// A forked child has only the thread that forked it, so that a lock of another one stays locked.
#[test]
fn threads_before_the_first_fork_are_refused_unless_allowed() {
    let run = |args: &[&str], allow: Option<&str>| {
        let mut command = HOSTILE.command(args);
        command.env("SAMPLE", "thread");
        if let Some(value) = allow {
            command.env("KATA_TEST_ALLOW_THREADS", value);
        }
        Finished::by(command)
    };
    let args = ["--exact", "worst::change_dir"];
    let refused = run(&args, None);
    assert_eq!(refused.code, Some(101), "{refused:?}");
    for text in [
        "2 threads",
        "early",
        "--in-process",
        "KATA_TEST_ALLOW_THREADS=1",
    ] {
        assert!(refused.stderr.contains(text), "{text}: {}", refused.stderr);
    }
    let allowed = run(&args, Some("1"));
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    assert!(allowed.stderr.contains("2 threads"), "{}", allowed.stderr);
    for args in [&["--in-process", "change_dir"][..], &["--list"]] {
        let out = run(args, None);
        assert_eq!((out.code, &*out.stderr), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn leaks_are_reported_under_the_tests_name() {
    set_child_subreaper(true).expect("orphans");
    let sample = Sample::build("hostile");
    // One after the other and then at the same time: whose a daemon is must show in itself.
    for threads in ["--test-threads=1", "--test-threads=4"] {
        let mut command = sample.command(&["leaves::", threads]);
        command.env("SAMPLE", "fail");
        let out = Finished::by(command);
        assert_eq!(out.code, Some(0), "{out:?}");
        for line in ["leaves::a_process: process ", "leaves::a_daemon: process "] {
            assert_eq!(out.stdout.matches(line).count(), 1, "{}", out.stdout);
        }
        assert!(!out.stdout.contains("nothing_much: "), "{}", out.stdout);
        for seconds in ["61", "62"] {
            assert!(out.stdout.contains(&format!("(sleep {seconds}), killed\n")));
        }
        let pid = |line: &str| {
            let (_, tail) = line.split_once(": process ")?;
            tail.split(' ').next()?.parse().ok()
        };
        for pid in out.stdout.lines().filter_map(pid) {
            assert!(!is_alive(pid), "process {pid} is still there");
        }
    }
    assert!(
        sample
            .recorded()
            .contains("\"kind\":\"leak\",\"constraint\":null,\"observed\":\"process ")
    );
}

#[kata_test(root)]
fn a_leaked_mount_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = HOSTILE.command(&["--exact", "leaves::a_mount"]);
    command.env("MOUNT_ON", folder.path());
    let out = Finished::by(command);
    let umount = Command::new("umount").arg(folder.path()).status();
    assert!(umount.expect("umount").success());
    let line = format!(
        "leaves::a_mount: mount {} (tmpfs)\n",
        folder.path().display()
    );
    assert!(out.stdout.contains(&line), "{}", out.stdout);
}

#[test]
fn a_serial_group_has_one_test_at_a_time_in_all_processes() {
    let sample = Sample::build("hostile");
    let alone = tempfile::tempdir().expect("a folder");
    let start = || {
        let mut command = sample.command(&["serial::", "--test-threads=4"]);
        command.env("ALONE_IN", alone.path()).stdout(Stdio::piped());
        command.spawn().expect("a process")
    };
    let harnesses = [start(), start(), start()];
    for harness in harnesses {
        let output = harness.wait_with_output().expect("an end");
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{out}");
    }
}

/// The lock goes with a harness that was killed, though a process that its test forked lives on;
/// and whoever waits for it meanwhile waits outside of its timeout.
#[test]
fn a_killed_holder_frees_the_lock_and_waiting_does_not_count_for_the_timeout() {
    set_child_subreaper(true).expect("orphans");
    let sample = Sample::build("hostile");
    let mut command = sample.command(&["--exact", "serial::hangs", "--nocapture"]);
    command
        .env("SAMPLE", "hang")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let (mut holder, test) = start_hanging(command);
    let mut waiting = sample.command(&["serial::is_not_limited"]);
    let waiting = waiting.stdout(Stdio::piped()).spawn().expect("a process");
    // More than the test's timeout, and much less than what the forked process sleeps.
    std::thread::sleep(Duration::from_millis(800));
    let start = Instant::now();
    kill(
        Pid::from_raw(i32::try_from(holder.id()).expect("a pid")),
        Signal::SIGKILL,
    )
    .expect("kill");
    holder.wait().expect("an end");
    let output = waiting.wait_with_output().expect("an end");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the lock outlived its holder"
    );
    assert!(!is_alive(test));
}

/// The lock is released only after the notice has been read.
#[test]
fn a_wait_for_a_serial_group_is_announced() {
    let sample = Sample::build("hostile");
    // Creates the lock file.
    assert_eq!(sample.run(&["--exact", "serial::a"]).code, Some(0));
    for in_process in [&["--in-process"][..], &[]] {
        let lock = sample.serial_lock("one");
        lock.lock().expect("the lock");
        let mut command = sample.command(&[in_process, &["--exact", "serial::a"]].concat());
        command
            .env("KATA_TEST_SLOW_AFTER", "50ms")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut harness = command.spawn().expect("a process");
        let mut lines = BufReader::new(harness.stderr.take().expect("a pipe")).lines();
        let notice = lines.next().expect("a notice").expect("text");
        let start = format!(
            "waiting for serial group one: process {} (",
            std::process::id()
        );
        assert!(notice.starts_with(&start), "{notice}");
        assert!(notice.ends_with("/serial/one.lock"), "{notice}");
        lock.unlock().expect("unlocked");
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert_eq!(rest, [""; 0], "{in_process:?}");
        assert!(harness.wait().expect("an end").success());
    }
}

#[test]
fn a_slow_test_is_announced_once_and_runs_on() {
    let mut command = HOSTILE.command(&["slow::"]);
    command
        .env("SAMPLE", "slow")
        .env("KATA_TEST_SLOW_AFTER", "50ms");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0));
    let notice = "test slow::without_a_timeout has been running for over 0.05 seconds\n";
    assert_eq!(out.stdout.matches(notice).count(), 1, "{}", out.stdout);
}

/// The kernel stops a background process group that reads the terminal.
#[test]
fn tests_have_no_input() {
    let mut command = HOSTILE.command(&["worst::read_input"]);
    command.stdin(fs::File::open("/proc/version").expect("something to read"));
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{out:?}");
}

#[test]
fn in_process_runs_without_children() {
    let out = HOSTILE.run(&[
        "--in-process",
        "--exact",
        "worst::set_variable",
        "worst::change_dir",
        "slow::without_a_timeout",
    ]);
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(out.stdout.contains("3 passed; 0 failed"), "{}", out.stdout);
    // Here a test's changes affect all later tests, which distinguishes this mode from the other one.
    let out = HOSTILE.run(&["--in-process", "change_dir", "z_untouched"]);
    assert_eq!(out.code, Some(101));
    assert!(out.line("z_untouched::everything").ends_with("FAILED"));
}

/// What other tests of this file do shows in the run as a whole: green by itself.
#[test]
fn an_unprivileged_caller_runs_non_root_tests_itself() {
    let sample = Sample::build("hostile");
    let out = sample.run_unprivileged(&["cannot_be_root"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let unmet = out.line("unprivileged::cannot_be_root");
    assert!(
        unmet.ends_with("needs when is_root: the probe's uid is not 0 (geteuid)"),
        "{unmet}"
    );
}

#[kata_test(root)]
fn a_non_root_test_under_root_runs_as_another_user() {
    let sample = Sample::build("hostile");
    let out = sample.run(&["unprivileged::", "--show-output"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let line = out.line("unprivileged::has_a_home");
    let unmet = out.line("unprivileged::cannot_be_root");
    let somebody = out.line("unprivileged::is_somebody");
    assert!(somebody.ends_with("... ok (as uid 4321)"), "{somebody}");
    assert!(line.ends_with("... ok (as uid 65534)"), "{line}");
    assert!(
        unmet.contains("ignored, needs when is_root: the probe's uid is not 0"),
        "{unmet}"
    );
    assert!(
        out.line("unprivileged::is_not_provided")
            .ends_with("... ok")
    );
    let recorded = sample.recorded();
    let of = |line: &&str| line.contains("has_a_home") && line.contains("\"passed\"");
    let record = recorded.lines().find(of).expect("a record");
    assert!(record.contains("\"as_uid\":65534"), "{record}");
    let (_, home) = out.stdout.split_once("home is Some(\"").expect("a home");
    let (home, _) = home.split_once('"').expect("its end");
    assert!(
        home.contains("kata-test-home-") && !Path::new(home).exists(),
        "{home}"
    );
}

#[kata_test(root)]
fn a_user_without_access_skips_the_test_and_names_the_path() {
    let sample = Sample::build("hostile");
    let closed = tempfile::tempdir().expect("a folder");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let mut command = sample.command(&["has_a_home"]);
    command.current_dir(closed.path());
    let out = Finished::by(command);
    let line = out.line("unprivileged::has_a_home");
    let path = fs::canonicalize(closed.path()).expect("a path");
    let reason = format!(
        "ignored, needs non_root: uid 65534 has no access to {}: Permission denied",
        path.display()
    );
    assert!(line.contains(&reason), "{line}");
}
