//! A runner in a package of its own, watched from outside.

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

/// The tests of `sample/tests/slow.rs`.
const TESTS: usize = 7;

/// No run takes so long.
const ENDLESS: Duration = Duration::from_secs(180);

/// The package, and the runner that is to run its tests.
pub(crate) struct Stage {
    runner: PathBuf,
    package: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        // Whatever loses its parent comes here, so that nothing can be left unseen.
        set_child_subreaper(true)?;
        Ok(Self {
            runner: xtask()?,
            package: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample"),
        })
    }

    pub(crate) fn start(&self, dog: Option<Duration>) -> Result<Child> {
        Ok(self.command(dog)?.spawn()?)
    }

    pub(crate) fn command(&self, dog: Option<Duration>) -> Result<Command> {
        let mut command = in_package(&self.runner, &self.package)?;
        if let Some(dog) = dog {
            command.env("PLACES_SAMPLE_DOG", dog.as_millis().to_string());
        }
        command.args(["test", "--places", "here,vm:bookworm"]);
        Ok(command)
    }

    /// Where the newest run's records lie.
    pub(crate) fn records(&self) -> Result<PathBuf> {
        Ok(fs::canonicalize(target()?.join("kata-test/latest"))?)
    }

    /// A run that nothing happens to, after which nothing of those before it is left.
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

/// Waits for a child's end, and for the end of all that it has left to us.
pub(crate) fn end(mut child: Child) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let deadline = Instant::now() + ENDLESS;
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(ended, code)) if ended == pid => {
                status = Some(ExitStatus::from_raw(code << 8));
            }
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                status = Some(ExitStatus::from_raw(signal as i32));
            }
            Err(Errno::ECHILD) => return status.context("it was reaped before"),
            Ok(WaitStatus::StillAlive) => {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    anyhow::bail!("processes are left: {:?}", below(Pid::this()));
                }
                // Any of them may be the next to end, and not all are ours yet.
                thread::sleep(Duration::from_millis(10));
            }
            _ => {}
        }
    }
}

/// The processes below one, with their command lines.
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
    let deadline = Instant::now() + ENDLESS;
    while Instant::now() < deadline {
        let vm = below(runner)
            .into_iter()
            .find(|(_, line)| line.contains("iothread-it,"));
        if let Some((pid, _)) = vm {
            return Ok(pid);
        }
        // Of a grandchild nobody tells.
        thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("no QEMU comes")
}

/// What a killed runner may leave, and a later one has to remove.
pub(crate) fn unfinished() -> Result<BTreeSet<PathBuf>> {
    let target = target()?;
    let mut left = BTreeSet::new();
    let mut look = vec![
        target.join("kata-test"),
        fs::canonicalize(target.join("iothread-it"))?.join("place-scratch"),
    ];
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
            // ScratchDir folders of others that work at this moment are locked.
            if !is_good && !is_in_use(&path) {
                left.insert(path.clone());
            }
            if path.is_dir() && !path.is_symlink() {
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

/// Every test has an outcome, and what did not pass has failed.
pub(crate) fn check(outcomes: &[Record], what: &str) {
    assert_eq!(outcomes.len(), TESTS, "{what}: {outcomes:#?}");
    for outcome in outcomes {
        let is_told = outcome.outcome == Outcome::Passed || outcome.outcome.is_failure();
        assert!(is_told, "{what}: {outcome:#?}");
    }
}
