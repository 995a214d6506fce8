//! The sample as root sees it. Without root this is skipped, so it stands under our own harness.

// `folder` has a plain test of its own.
#[macro_use(test)]
extern crate kata_test;

#[path = "real/folder.rs"]
mod folder;
#[path = "real/run.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of `real`, which use all of it"
)]
mod run;

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kata_test::kata_test;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use run::{Finished, Sample};

kata_test::main!();

#[kata_test(root, command = "cargo")]
fn as_root() {
    let out = Sample::build("sample").run(&["--test-threads=1"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    insta::assert_snapshot!(out.stable());
}

/// A test that runs as another user observes the host as that user.
#[kata_test(root, command = "cargo")]
fn require_is_evaluated_as_the_tests_user() {
    let out = Sample::build("runtime_skips").run(&["users::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(
        out.stdout.contains("2 passed; 0 failed; 0 ignored"),
        "{}",
        out.stdout
    );
}

/// sudo adds the umask of its caller to that of root.
#[kata_test(root, command = "cargo")]
fn a_home_is_reachable_under_any_umask() {
    let sample = Sample::build("hostile");
    let sample = sample.command(&["unprivileged::has_a_home"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(sample.get_program())
        .args(sample.get_args());
    for (name, value) in sample.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{out:?}");
}

/// The user who owns a folder of records, and runs without root the next time.
const OWNER: u32 = 65534;

fn folder_of_the_owner() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(OWNER), Some(OWNER)).expect("chown");
    folder
}

#[kata_test(root)]
fn root_follows_no_link_to_a_users_records() {
    let folder = folder_of_the_owner();
    let [records, elsewhere] = ["records", "elsewhere"].map(|name| folder.path().join(name));
    for path in [&records, &elsewhere] {
        fs::create_dir(path).expect("a folder");
        std::os::unix::fs::chown(path, Some(OWNER), Some(OWNER)).expect("chown");
    }
    std::os::unix::fs::symlink(&elsewhere, records.join("runs")).expect("a link");
    let sample = Sample::build("sample");
    let mut command = sample.command(&["--exact", "cases::passes::with_a_result"]);
    command.env("KATA_TEST_RECORD_DIR", &records);
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(out.stderr.contains("symbolic link"), "{out:?}");
    let found = fs::read_dir(&elsewhere).expect("a folder").count();
    assert_eq!(found, 0);
}

/// Also below folders that are made on the way, and in root's own that others can write.
#[kata_test(root)]
fn new_folders_above_records_belong_to_the_user() {
    let folder = folder_of_the_owner();
    let sample = Sample::build("sample");
    let pass = |records: &Path| {
        let mut command = sample.command(&["--exact", "cases::passes::with_a_result"]);
        command.env("KATA_TEST_RECORD_DIR", records);
        Finished::by(command)
    };
    pass(&folder.path().join("a/b/c"));
    for made in ["a", "a/b", "a/b/c", "a/b/c/runs"] {
        let data = fs::metadata(folder.path().join(made)).expect(made);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&data), OWNER, "{made}");
    }
    let shared = tempfile::tempdir().expect("a folder");
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o775)).expect("chmod");
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    std::os::unix::fs::symlink(&elsewhere, shared.path().join("records")).expect("a link");
    let out = pass(&shared.path().join("records"));
    assert!(out.stderr.contains("symbolic link"), "{out:?}");
    assert_eq!(fs::read_dir(&elsewhere).expect("a folder").count(), 0);
}

mod of_the_runner {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use kata_test::{Reason, kata_test};
    use kata_test_runner::{Binary, Run, TestId};

    use super::{OWNER, folder_of_the_owner};

    #[kata_test(root)]
    fn a_run_of_root_leaves_no_file_of_root_in_a_users_folder() {
        let folder = folder_of_the_owner();
        let records = folder.path().join("kata-test");
        let run = Run::start(&records).expect("a run");
        run.describe("something").expect("run.json");
        let why = Reason::infrastructure("a", "b");
        let id = TestId::new("p::it", "a");
        run.record_failure("here", &id, why, None)
            .expect("a record");
        let executable = std::env::current_exe().expect("a path");
        let binary = Binary {
            executable,
            ..Binary::default()
        };
        run.name_binaries(&[binary]).expect("a list");
        run.append("vm-1-p.jsonl").expect("records of a place");
        run.merge().expect("outcomes");
        all_are_the_owners(&records);
    }

    fn all_are_the_owners(folder: &Path) {
        for path in fs::read_dir(folder).expect("a folder") {
            let path = path.expect("an entry").path();
            let data = path.symlink_metadata().expect("a file");
            // A link can be removed by the owner of its folder.
            let is_owners = data.uid() == OWNER || data.is_symlink();
            assert!(is_owners, "{} is root's", path.display());
            if data.is_dir() {
                all_are_the_owners(&path);
            }
        }
    }

    #[kata_test(root)]
    fn root_follows_no_link_in_a_users_run() {
        let folder = folder_of_the_owner();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").expect("a file");
        let run = Run::start(&folder.path().join("kata-test")).expect("a run");
        for name in ["vm-1-p.jsonl", "summary.md", "binary-ids"] {
            symlink(&precious, run.dir().join(name)).expect("a link");
        }
        assert!(run.append("vm-1-p.jsonl").is_err());
        fs::remove_file(run.dir().join("vm-1-p.jsonl")).expect("it goes");
        run.name_binaries(&[]).expect("it replaces the link");
        run.merge().expect("it replaces the link");
        assert_eq!(fs::read(&precious).expect("a file"), b"precious");
        assert_eq!(precious.metadata().expect("a file").uid(), 0);
    }
}

/// Runs a program, which must succeed.
fn succeed(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status();
    assert!(status.expect(program).success(), "{program} {args:?}");
}

/// Gives this test's process a mount namespace in which the host has a user named `somebody`, with a
/// group whose device only its members can use.
fn add_somebody(folder: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a namespace");
    succeed("mount", &["--make-rprivate", "/"]);
    for (file, line) in [
        ("passwd", "somebody:x:4321:4321::/home/somebody:/bin/sh\n"),
        ("group", "somebody:x:4321:\nfriends:x:4322:somebody\n"),
    ] {
        let path = folder.join(file);
        let original = Path::new("/etc").join(file);
        let text = fs::read_to_string(&original).expect("the host's users");
        fs::write(&path, text + line).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let paths = [&path, &original].map(|path| path.to_str().expect("text"));
        succeed("mount", &["--bind", paths[0], paths[1]]);
    }
    for folder in ["/run", "/dev/shm"] {
        succeed("mount", &["-t", "tmpfs", "none", folder]);
    }
    succeed("mkdir", &["-p", "/run/user/4321"]);
    succeed("chown", &["4321:4321", "/run/user/4321"]);
    let device = "/dev/shm/kata-test-device";
    succeed("mknod", &["-m", "660", device, "c", "1", "3"]);
    succeed("chgrp", &["4322", device]);
}

/// The user, all groups, and the session's variables, for verdicts and for tests.
#[kata_test(root, command("cargo", "mount", "mknod"))]
fn a_test_under_sudo_has_the_callers_groups_and_session() {
    let sample = Sample::build("hostile");
    let folder = tempfile::tempdir().expect("a folder");
    add_somebody(folder.path());
    let mut command = sample.command(&["unprivileged::", "--show-output"]);
    for (name, value) in [
        ("SUDO_UID", "4321"),
        ("SUDO_GID", "4321"),
        ("SUDO_USER", "somebody"),
        ("SUDO_COMMAND", "/usr/bin/env"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("MAIL", "/var/mail/root"),
        ("SHELL", "/bin/root-shell"),
        ("XDG_RUNTIME_DIR", "/run/user/0"),
        ("XDG_CONFIG_HOME", "/root/.config"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/0/bus"),
        ("SSH_AUTH_SOCK", "/root/agent"),
        ("CARGO_HOME", "/root/no-such-folder"),
        ("RUSTUP_HOME", "/usr"),
        ("OTHERS", "stay"),
    ] {
        command.env(name, value);
    }
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{out:?}");
    for test in ["has_a_session", "uses_a_device_of_a_group"] {
        let line = out.line(&format!("unprivileged::{test}"));
        assert!(line.ends_with("... ok (as uid 4321)"), "{line}");
    }
    assert!(
        out.stdout.contains("groups are [Gid(4321), Gid(4322)]"),
        "{}",
        out.stdout
    );
    let value = |name: &str| {
        let start = format!("variable {name}=");
        out.stdout
            .lines()
            .find_map(|line| line.strip_prefix(&*start))
    };
    for (name, expected) in [
        ("USER", Some("somebody")),
        ("LOGNAME", Some("somebody")),
        ("MAIL", Some("/var/mail/somebody")),
        ("SHELL", Some("/bin/sh")),
        ("XDG_RUNTIME_DIR", Some("/run/user/4321")),
        ("XDG_CONFIG_HOME", None),
        ("DBUS_SESSION_BUS_ADDRESS", None),
        ("SSH_AUTH_SOCK", None),
        ("SUDO_UID", None),
        ("SUDO_COMMAND", None),
        ("CARGO_HOME", None),
        ("RUSTUP_HOME", Some("/usr")),
        ("OTHERS", Some("stay")),
    ] {
        assert_eq!(value(name), expected, "{name} in {}", out.stdout);
    }
    let home = value("HOME").expect("a home");
    assert!(home.contains("kata-test-home-"), "{home}");
}

/// Neither the records nor other tests' pipes: only the pipe for its own reports.
#[kata_test(root, command = "cargo")]
fn a_test_of_another_user_has_no_descriptors_of_the_harness() {
    let sample = Sample::build("hostile");
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let log = log.to_str().expect("text");
    let args = [
        "unprivileged::",
        "--test-threads=4",
        "--show-output",
        "--logfile",
        log,
    ];
    let out = sample.run(&args);
    assert_eq!(out.code, Some(0), "{out:?}");
    let line = out.line("unprivileged::has_no_descriptors_of_the_harness");
    assert!(line.ends_with("... ok (as uid 4321)"), "{line}");
    let private: Vec<&str> = out
        .stdout
        .lines()
        .filter(|line| line.starts_with("private descriptor "))
        .collect();
    // The other one is that of the folder that the test reads.
    let is_expected = |line: &&str| line.contains(" is pipe:") || line.contains(" is /proc/");
    assert!(
        private.iter().all(is_expected) && private.len() == 2,
        "{private:?}"
    );
}

/// A command that may not signal other users' processes, as in some containers.
fn without_cap_kill(sample: &Sample, args: &[&str]) -> Command {
    let inner = sample.command(args);
    let mut command = sample.command(&[]);
    let mut outer = Command::new("setpriv");
    outer.args(["--bounding-set=-kill", "--inh-caps=-kill"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.current_dir(command.get_current_dir().expect("a folder"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    command = outer;
    command
}

/// Ends what the harness could not, and says whether it was there.
fn end(pid: i32) -> bool {
    kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
}

/// The number behind a text.
fn number_after(out: &str, text: &str) -> i32 {
    let (_, tail) = out
        .split_once(text)
        .unwrap_or_else(|| panic!("no {text:?} in {out}"));
    let end = tail
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(tail.len());
    tail[..end].parse().expect("a number")
}

#[kata_test(root, command("cargo", "setpriv"))]
fn a_test_that_cannot_be_killed_does_not_hang_the_harness() {
    let sample = Sample::build("hostile");
    let args = ["--exact", "stops::in_time_as_another_user"];
    let mut command = without_cap_kill(&sample, &args);
    command.env("SAMPLE", "hang");
    let start = Instant::now();
    let out = Finished::by(command);
    assert!(start.elapsed() < Duration::from_secs(30), "it hung");
    let pid = number_after(&out.stdout, "waiting as ");
    assert!(end(pid), "process {pid} is gone");
    assert_eq!(out.code, Some(101), "{out:?}");
    let why = format!(
        "note: timed out after 300ms; process {pid} cannot be killed (Operation not permitted) and \
         still runs\n"
    );
    assert!(out.stdout.contains(&why), "{}", out.stdout);
}

#[kata_test(root, command("cargo", "setpriv"))]
fn an_interrupted_test_that_cannot_be_killed_does_not_hang_the_harness() {
    let sample = Sample::build("hostile");
    let args = ["--exact", "stops::as_another_user", "--nocapture"];
    let mut command = without_cap_kill(&sample, &args);
    // A file: the test outlives the harness and would keep a pipe open.
    let mut stdout = tempfile::tempfile().expect("a file");
    command
        .env("SAMPLE", "hang")
        .stdout(stdout.try_clone().expect("a descriptor"))
        .stderr(Stdio::piped());
    let mut harness = command.spawn().expect("setpriv");
    let mut stderr = BufReader::new(harness.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("text");
    let pid = number_after(&line, "waiting as ");
    let start = Instant::now();
    let harness_pid = Pid::from_raw(i32::try_from(harness.id()).expect("a pid"));
    kill(harness_pid, Signal::SIGINT).expect("kill");
    harness.wait().expect("an end");
    assert!(start.elapsed() < Duration::from_secs(30), "it hung");
    assert!(end(pid), "process {pid} is gone");
    let mut text = String::new();
    stdout.rewind().expect("the start of the file");
    stdout.read_to_string(&mut text).expect("text");
    let why = format!(
        "note: interrupted by SIGINT; process {pid} cannot be killed (Operation not permitted) and \
         still runs\n"
    );
    assert!(text.contains(&why), "{text}");
}

/// Evaluating constraints as another user takes a fork, which a process with threads must not do.
#[kata_test(root, command = "cargo")]
fn a_list_of_a_binary_with_threads_forks_nothing() {
    let sample = Sample::build("hostile");
    for (allow, verdict) in [("0", "undetermined"), ("1", "met")] {
        let mut command = sample.command(&["--verdicts", "--exact", "unprivileged::has_a_home"]);
        command
            .env("SAMPLE", "thread")
            .env("KATA_TEST_ALLOW_THREADS", allow);
        let out = Finished::by(command);
        assert_eq!(out.code, Some(0), "{out:?}");
        let verdict = format!("\"verdict\":\"{verdict}\"");
        assert!(out.stdout.contains(&verdict), "{}", out.stdout);
        let names_threads = out.stdout.contains("has 2 threads");
        assert_eq!(names_threads, allow == "0", "{}", out.stdout);
    }
}

#[kata_test(root, command("cargo", "setpriv"))]
fn a_leaked_process_that_cannot_be_killed_is_reported_as_running() {
    let sample = Sample::build("hostile");
    let args = ["--exact", "stops::leaving_another_users_process"];
    let mut command = without_cap_kill(&sample, &args);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    let pid = number_after(&out.stdout, "leaving_another_users_process: process ");
    assert!(end(pid), "process {pid} is gone");
    let line = format!("process {pid} (sleep 63), still running (kill: Operation not permitted)\n");
    assert!(out.stdout.contains(&line), "{}", out.stdout);
}
