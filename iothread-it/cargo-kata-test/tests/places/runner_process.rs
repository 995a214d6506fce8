//! A runner in a child process, for the sample package.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kata_test_runner::{Outcome, Record};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::commands::{in_package, outcomes, target, xtask};

/// The number of tests in `sample/tests/slow.rs`.
const TESTS: usize = 7;

/// The time limit of a run.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);

/// The sample package and the runner of its tests.
pub(crate) struct Fixture {
    runner: PathBuf,
    package: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self> {
        // Orphans become children of this process, so that none is missed.
        set_child_subreaper(true)?;
        Ok(Self {
            runner: xtask()?,
            package: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample"),
        })
    }

    pub(crate) fn start(&self, panic_after: Option<Duration>) -> Result<Child> {
        Ok(self.command(panic_after)?.spawn()?)
    }

    pub(crate) fn command(&self, panic_after: Option<Duration>) -> Result<Command> {
        let mut command = in_package(&self.runner, &self.package)?;
        if let Some(panic_after) = panic_after {
            command.env(
                "PLACES_SAMPLE_PANIC_AFTER_MS",
                panic_after.as_millis().to_string(),
            );
        }
        // In one VM, so that a fault meets the one test that runs.
        command.args(["test", "--test", "slow", "--vms", "1"]);
        command.args(["--places", "here,vm:bookworm"]);
        Ok(command)
    }

    /// Returns the folder of the newest run's records.
    pub(crate) fn records(&self) -> Result<PathBuf> {
        Ok(fs::canonicalize(target()?.join("kata-test/latest"))?)
    }

    /// Runs the tests without a fault. Afterwards, nothing of earlier runs may be left.
    pub(crate) fn clean_run(&self) -> Result<Duration> {
        let began = Instant::now();
        let status = end(self.start(None)?)?;
        let took = began.elapsed();
        ensure!(status.success(), "an undisturbed run ended with {status}");
        let outcomes = outcomes()?;
        assert_eq!(outcomes.len(), TESTS, "{outcomes:#?}");
        assert_eq!(unfinished()?, BTreeSet::new(), "files are left");
        Ok(took)
    }
}

/// Waits until a child and all of its orphans have ended.
pub(crate) fn end(mut child: Child) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let deadline = Instant::now() + RUN_TIMEOUT;
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(ended, code)) if ended == pid => {
                status = Some(ExitStatus::from_raw(code << 8));
            }
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                status = Some(ExitStatus::from_raw(signal as i32));
            }
            Err(Errno::ECHILD) => return status.context("the child was reaped before"),
            Ok(WaitStatus::StillAlive) => {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    anyhow::bail!("processes are left: {:?}", below(Pid::this()));
                }
                // Not all of them are children yet, so no blocking wait covers them.
                thread::sleep(Duration::from_millis(10));
            }
            _ => {}
        }
    }
}

/// Returns the descendants of a process, with their command lines.
fn below(pid: Pid) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let child = Pid::from_raw(child);
            found.push((child, String::from_utf8_lossy(&line).replace('\0', " ")));
            found.extend(below(child));
        }
    }
    found
}

/// Waits for the QEMU of a runner.
pub(crate) fn qemu_of(runner: &Child) -> Result<Pid> {
    let runner = Pid::from_raw(i32::try_from(runner.id())?);
    let deadline = Instant::now() + RUN_TIMEOUT;
    while Instant::now() < deadline {
        let vm = below(runner)
            .into_iter()
            .find(|(_, line)| line.contains("iothread-it,"));
        if let Some((pid, _)) = vm {
            return Ok(pid);
        }
        // The start of a grandchild is no event here.
        thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("no QEMU was started")
}

/// Returns the files that a killed runner may leave behind and a later one must remove.
pub(crate) fn unfinished() -> Result<BTreeSet<PathBuf>> {
    let target = target()?;
    let mut left = BTreeSet::new();
    let mut look = vec![target.join("kata-test")];
    while let Some(folder) = look.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_good = [".lock", ".iothread-it-scratch"].contains(&name.as_str())
                || !["scratch-", "."]
                    .iter()
                    .any(|start| name.starts_with(start))
                    && !name.contains("unfinished");
            // Scratch folders in use are locked.
            if !is_good && !is_in_use(&path) {
                left.insert(path.clone());
            }
            // What tests leave as artifacts has any name.
            if path.is_dir() && !path.is_symlink() && name != "artifacts" {
                look.push(path);
            }
        }
    }
    Ok(left)
}

fn is_in_use(folder: &Path) -> bool {
    let lock = fs::File::open(folder.join(".lock"));
    lock.is_ok_and(|lock| lock.try_lock().is_err())
}

/// Checks that every test has an outcome and has passed or failed.
pub(crate) fn check(outcomes: &[Record], what: &str) {
    assert_eq!(outcomes.len(), TESTS, "{what}: {outcomes:#?}");
    for outcome in outcomes {
        let is_valid = outcome.outcome == Outcome::Passed || outcome.outcome.is_failure();
        assert!(is_valid, "{what}: {outcome:#?}");
    }
}
