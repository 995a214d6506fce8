//! This host as root, by sudo. The rule that allows it is seen in these tests' own namespace only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Job, Outcome, Place, Reporter, Run, StopToken, SudoPlace, plan,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::disasters::await_record;
use crate::example::become_nobody;
use crate::{build, folder, kind, outcome, room};

/// Puts a test on stage that never ends, as root.
const ON_STAGE: &str = "PLACES_SUDO_ON_STAGE";

const RULES: &str = "\
Defaults env_reset, use_pty, secure_path=/usr/sbin:/usr/bin:/sbin:/bin
root ALL=(ALL:ALL) ALL
#65534 ALL=(ALL:ALL) NOPASSWD: ALL
";

/// Makes this process nobody's, and lets nobody become root.
fn become_nobody_who_may() -> Result<()> {
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
    become_nobody()
}

fn example() -> Result<Binary> {
    build(crate::commands::example(), "needs")
}

#[kata_test(root, namespace = "mnt", command = "sudo", timeout = "5m")]
fn root_s_tests_run_as_root_and_leave_nothing_of_root_s() -> Result<()> {
    let binaries = [example()?];
    become_nobody_who_may()?;
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = [
        CandidatePlace::Here,
        CandidatePlace::Place(Box::new(SudoPlace::new()?)),
    ];
    let told = &mut |text: &str| println!("{text}");
    let plan = plan(&binaries, &mut candidates, &records, StopToken::NEVER, told)?;
    let chosen = |name: &str| {
        let test = plan.tests.iter().find(|test| test.id.test == name);
        test.and_then(|test| test.chosen())
    };
    assert_eq!(chosen("needs_root"), Some(1));
    assert_eq!(chosen("needs_another_user"), Some(0));
    let mut seen = Vec::new();
    let mut reporter = Reporter {
        progress: told,
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
    all_are_nobodys(&records)
}

fn all_are_nobodys(folder: &Path) -> Result<()> {
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
            all_are_nobodys(&path)?;
        }
    }
    Ok(())
}

/// What a runner does that is then killed.
#[kata_test]
#[ignore = "another test runs it"]
fn a_runner_on_stage() -> Result<()> {
    let records = std::env::var_os(ON_STAGE).context("no folder for the records")?;
    let executable = std::env::var_os("PLACES_SUDO_BINARY").context("a binary")?;
    let binary = Binary {
        id: "cargo-kata-test::disasters".to_owned(),
        executable: executable.into(),
        folder: env!("CARGO_MANIFEST_DIR").into(),
        env: vec![("IOTHREAD_IT_DISASTERS".into(), "1".into())],
        ..Binary::default()
    };
    let run = Run::start(Path::new(&records))?;
    let job = Job {
        tests: vec![kata_test_runner::JobTest {
            name: "f_waits_for_the_end_of_qemu".to_owned(),
            limit: None,
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
fn a_killed_runner_takes_root_s_processes_with_it() -> Result<()> {
    let disasters = build(env!("CARGO_MANIFEST_DIR").into(), "disasters")?;
    become_nobody_who_may()?;
    // Whatever loses its parent below comes here.
    set_child_subreaper(true)?;
    let folder = folder()?;
    let records = folder.path().join("records");
    let mut runner = Command::new(std::env::current_exe()?);
    runner
        .args([
            "--exact",
            "--include-ignored",
            "sudo::a_runner_on_stage",
            "--nocapture",
        ])
        .env_remove("KATA_TEST_RUN")
        .env("KATA_TEST_RECORD_DIR", folder.path().join("own"))
        .env("PLACES_SUDO_BINARY", &disasters.executable)
        .env(ON_STAGE, &records);
    let runner = runner.spawn()?;
    let latest = records.join("latest");
    await_record(&latest, "f_waits_for_the_end_of_qemu");
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
    assert!(room(nix::unistd::geteuid()).exists());
    Ok(())
}

/// sudo without its rules, which gives root's variables only.
const FAKE_SUDO: &str = "\
#!/usr/bin/env bash
[ \"$1\" = -n ] && shift
[ \"$1\" = -- ] && shift
exec env -i PATH=/usr/bin:/bin HOME=/root USER=root LOGNAME=root \"$@\"
";

/// Puts a run by a fake sudo on stage, with that binary.
const FAKE_STAGE: &str = "PLACES_FAKE_SUDO_BINARY";

#[kata_test(root, env = "PLACES_FAKE_SUDO_BINARY")]
fn a_run_by_a_fake_sudo_on_stage() -> Result<()> {
    let folder = folder()?;
    let run = Run::start(folder.path())?;
    let binary = Binary {
        id: "places::needs".to_owned(),
        executable: std::env::var_os(FAKE_STAGE).context("a binary")?.into(),
        folder: crate::commands::example(),
        ..Binary::default()
    };
    let job = Job {
        tests: vec![kata_test_runner::JobTest {
            name: "needs_root".to_owned(),
            limit: None,
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

/// To bash some variables are constants: a script that exports one ends there.
#[kata_test(root, namespace = "mnt", command = "bash", timeout = "5m")]
fn any_variable_may_be_exported_and_sh_may_be_bash() -> Result<()> {
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
        .args(["--exact", "sudo::a_run_by_a_fake_sudo_on_stage"])
        .env("PATH", std::env::join_paths(paths)?)
        .env("KATA_TEST_RECORD_DIR", folder.path().join("own"))
        .env(FAKE_STAGE, &binary.executable)
        .envs(["UID", "EUID", "PPID", "SHELLOPTS"].map(|name| (name, "1000")))
        .env("no name-of.a shell", "it's \"x\"\nand `more` $Z")
        .env("BASH_FUNC_f%%", "() {  echo\n}")
        .status()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
