//! The place `sudo`. The rule that allows sudo exists in the mount namespace of these tests only.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use kata_test::kata_test;
use kata_test_runner::{
    Artifacts, Binary, CandidatePlace, Job, Outcome, Place, PlanInput, ProcessEnd, Reporter, Run,
    Session, SessionCommand, StopToken, SudoPlace, TestId, UserKind, plan,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::crashes::await_record;
use crate::example::become_unprivileged;
use crate::{build, folder, kind, outcome, user_folder};

/// Enables a test that blocks, as root.
const BLOCK: &str = "PLACES_SUDO_BLOCK";

const RULES: &str = "\
Defaults env_reset, use_pty, secure_path=/usr/sbin:/usr/bin:/sbin:/bin
root ALL=(ALL:ALL) ALL
#65534 ALL=(ALL:ALL) NOPASSWD: ALL
";

/// Changes this process's user to nobody, which may use sudo.
fn become_unprivileged_with_sudo() -> Result<()> {
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let rules = folder()?;
    let file = rules.path().join("sudoers");
    fs::write(&file, RULES)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o440))?;
    mount(
        Some(&file),
        "/etc/sudoers",
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )?;
    become_unprivileged()
}

fn example() -> Result<Binary> {
    build(crate::commands::example(), "needs")
}

#[kata_test(root, namespace = "mnt", command = "sudo", timeout = "5m")]
fn tests_run_as_root_and_leave_no_files_of_root() -> Result<()> {
    let binaries = [example()?];
    become_unprivileged_with_sudo()?;
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = vec![
        CandidatePlace::Here,
        CandidatePlace::Place(Box::new(SudoPlace::new()?)),
    ];
    let print = &mut |text: &str| println!("{text}");
    let plan = plan(PlanInput::new(&binaries, &records), &mut candidates, print)?;
    let chosen = |name: &str| {
        let test = plan.tests.iter().find(|test| test.id.test == name);
        test.and_then(|test| test.chosen())
    };
    assert_eq!(chosen("needs_root"), Some(1));
    assert_eq!(chosen("needs_another_user"), Some(0));
    let mut seen = Vec::new();
    let mut reporter = Reporter {
        progress: print,
        output: &mut |bytes| seen.extend_from_slice(bytes),
        stop: StopToken::NEVER,
    };
    plan.run_in_places(&binaries, &mut candidates, &run, &mut reporter)?;
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("test needs_root ... ok"), "{seen}");
    let outcomes = run.merge()?;
    let root = outcome(&outcomes, "needs_root");
    assert_eq!((root.outcome, root.as_uid), (Outcome::Passed, 0));
    assert_eq!(root.place, "here:root");
    assert_eq!(kind(&outcomes, "needs_arm"), Outcome::Nowhere);
    belongs_to_nobody(&records)
}

/// What root leaves belongs to the user, but for a file that has another name elsewhere.
#[kata_test(root, namespace = "mnt", command = "sudo", timeout = "2m")]
fn files_of_a_plain_test_belong_to_the_user() -> Result<()> {
    become_unprivileged_with_sudo()?;
    let folder = folder()?;
    let run = Run::start(&folder.path().join("records"))?;
    let binary = Binary {
        executable: "/bin/sh".into(),
        folder: folder.path().to_owned(),
        ..Binary::default()
    };
    let id = TestId::new("sh", "leaves");
    let mut place = SudoPlace::new()?;
    let mut session = place
        .open(&binary, UserKind::Root, StopToken::NEVER)
        .map_err(|error| anyhow!(error))?;
    let left = |script: &str, session: &mut dyn Session| {
        let files = run.artifacts_folder("here:root", &id, 1)?;
        let command = SessionCommand {
            program: None,
            arguments: &["-c", script].map(OsStr::new),
            env: &[("KATA_TEST_ARTIFACTS".into(), files.path()?.into())],
            artifacts: Some(&files),
            limit: Duration::from_secs(60),
            stop: StopToken::NEVER,
        };
        let end = session.run(&command, &mut |bytes| {
            println!("{}", String::from_utf8_lossy(bytes));
        });
        assert_eq!(end.map_err(|error| anyhow!(error))?, ProcessEnd::Exited(0));
        anyhow::Ok(Artifacts::of(&files, Vec::new()))
    };
    assert_eq!(left("true", &mut *session)?, None);
    let script = "cd \"$KATA_TEST_ARTIFACTS\" && mkdir .deep && echo x > .deep/file && chmod 0700 .deep \
                  && echo y > ../linked && ln ../linked hard && ln -s /etc/passwd link";
    let found = left(script, &mut *session)?.context("files")?;
    assert_eq!((found.files, found.bytes), (2, 4));
    let found = run.dir().join(found.folder);
    for (path, uid) in [(".deep", 65534), (".deep/file", 65534), ("hard", 0)] {
        let data = found.join(path).symlink_metadata()?;
        assert_eq!(data.uid(), uid, "{path}");
    }
    assert_eq!(fs::metadata("/etc/passwd")?.uid(), 0);
    Ok(fs::remove_dir_all(found)?)
}

fn belongs_to_nobody(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let data = path.symlink_metadata()?;
        // A link can go whoever has made it.
        ensure!(
            data.uid() == 65534 || data.is_symlink(),
            "{} is root's",
            path.display()
        );
        if data.is_dir() {
            belongs_to_nobody(&path)?;
        }
    }
    Ok(())
}

/// The runner that another test kills.
#[kata_test]
#[ignore = "another test runs it"]
fn runner_that_is_killed() -> Result<()> {
    let records = std::env::var_os(BLOCK).context("no folder for the records")?;
    let executable = std::env::var_os("PLACES_SUDO_BINARY").context("a binary")?;
    let binary = Binary {
        id: "cargo-kata-test::destructive".to_owned(),
        executable: executable.into(),
        folder: env!("CARGO_MANIFEST_DIR").into(),
        env: vec![("PLACES_DESTRUCTIVE".into(), "1".into())],
        ..Binary::default()
    };
    let run = Run::start(Path::new(&records))?;
    let job = Job {
        tests: vec![kata_test_runner::JobTest {
            name: "f_blocks".to_owned(),
            limit: None,
            attempts: 1,
            own_machine: false,
        }],
        binary: &binary,
        run: &run,
        questions: &[],
        steps_per_ms: 0.0,
        stop: StopToken::NEVER,
    };
    let ran = SudoPlace::new()?.run(&job, &mut |_| {});
    ran.map_err(|error| anyhow!("{error}"))
}

#[kata_test(root, namespace = "mnt", command = "sudo", timeout = "5m")]
fn a_killed_runner_ends_the_processes_of_root() -> Result<()> {
    let destructive = build(env!("CARGO_MANIFEST_DIR").into(), "destructive")?;
    become_unprivileged_with_sudo()?;
    // Whatever loses its parent below comes here.
    set_child_subreaper(true)?;
    let folder = folder()?;
    let records = folder.path().join("records");
    let mut runner = Command::new(std::env::current_exe()?);
    runner
        .args([
            "--exact",
            "--include-ignored",
            "sudo::runner_that_is_killed",
            "--nocapture",
        ])
        .env_remove("KATA_TEST_RUN")
        .env("KATA_TEST_RECORD_DIR", folder.path().join("own"))
        .env("PLACES_SUDO_BINARY", &destructive.executable)
        .env(BLOCK, &records);
    let runner = runner.spawn()?;
    let latest = records.join("latest");
    await_record(&latest, "f_blocks");
    kill(Pid::from_raw(i32::try_from(runner.id())?), Signal::SIGKILL)?;
    // They end one after the other, root's at last. One that stays runs into this test's limit.
    let mut ended = Vec::new();
    while let Ok(status) = waitpid(None::<Pid>, None) {
        ended.push(status);
    }
    let killed =
        |status: &WaitStatus| matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
    assert!(ended.iter().any(killed) && ended.len() > 2, "{ended:?}");
    // The next run is not in the way of what was left.
    Run::start(&records)?;
    fs::remove_dir_all(&records).context("what root left cannot be removed")?;
    assert!(user_folder(nix::unistd::geteuid()).exists());
    Ok(())
}

/// A sudo without rules that sets root's variables only.
const FAKE_SUDO: &str = "\
#!/usr/bin/env bash
[ \"$1\" = -n ] && shift
[ \"$1\" = -- ] && shift
exec env -i PATH=/usr/bin:/bin HOME=/root USER=root LOGNAME=root \"$@\"
";

/// Enables a run with the fake sudo, of this binary.
const FAKE_SUDO_BINARY: &str = "PLACES_FAKE_SUDO_BINARY";

#[kata_test(root, env = "PLACES_FAKE_SUDO_BINARY")]
fn run_with_fake_sudo() -> Result<()> {
    let folder = folder()?;
    let run = Run::start(folder.path())?;
    let binary = Binary {
        id: "places::needs".to_owned(),
        executable: std::env::var_os(FAKE_SUDO_BINARY)
            .context("a binary")?
            .into(),
        folder: crate::commands::example(),
        ..Binary::default()
    };
    let job = Job {
        tests: vec![kata_test_runner::JobTest {
            name: "needs_root".to_owned(),
            limit: None,
            attempts: 1,
            own_machine: false,
        }],
        binary: &binary,
        run: &run,
        questions: &[],
        steps_per_ms: 0.0,
        stop: StopToken::NEVER,
    };
    let mut place = SudoPlace::new()?;
    let listed = place
        .list(&binary, &[], StopToken::NEVER)
        .map_err(|error| anyhow!("{error}"))?;
    assert!(listed.contains("needs_root"), "{listed}");
    let ran = place.run(&job, &mut |bytes| {
        print!("{}", String::from_utf8_lossy(bytes));
    });
    ran.map_err(|error| anyhow!("{error}"))?;
    let outcomes = run.merge()?;
    assert_eq!(kind(&outcomes, "needs_root"), Outcome::Passed);
    Ok(())
}

/// Some variables are read-only in bash: a script that assigns one ends.
#[kata_test(root, namespace = "mnt", command = "bash", timeout = "5m")]
fn read_only_variables_of_bash_may_be_exported() -> Result<()> {
    let binary = example()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    mount(
        Some("/bin/bash"),
        "/bin/sh",
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )?;
    let folder = folder()?;
    let sudo = folder.path().join("sudo");
    fs::write(&sudo, FAKE_SUDO)?;
    fs::set_permissions(&sudo, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&path));
    let status = Command::new(std::env::current_exe()?)
        .args(["--exact", "sudo::run_with_fake_sudo"])
        .env("PATH", std::env::join_paths(paths)?)
        .env("KATA_TEST_RECORD_DIR", folder.path().join("own"))
        .env(FAKE_SUDO_BINARY, &binary.executable)
        .envs(["UID", "EUID", "PPID", "SHELLOPTS"].map(|name| (name, "1000")))
        .env("no name-of.a shell", "it's \"x\"\nand `more` $Z")
        .env("BASH_FUNC_f%%", "() {  echo\n}")
        .status()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
