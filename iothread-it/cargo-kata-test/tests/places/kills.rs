//! A run that is hit at random moments: its runner, its QEMU or its guest. `PLACES_SEED` repeats a
//! run of these tests; each says its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{Outcome, OutcomeKind, Shards};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::commands::{in_package, outcomes, target, xtask};

/// The tests of `sample/tests/slow.rs`.
const TESTS: usize = 7;

/// About as long as QEMU runs for them.
const LIFE: Duration = Duration::from_millis(2400);

/// How often each victim is hit.
const ROUNDS: usize = 2;

/// No run takes so long.
const ENDLESS: Duration = Duration::from_secs(180);

/// Numbers that a seed decides.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("PLACES_SEED").ok();
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos()
        };
        let seed = given.and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::try_from(now() & 0xffff_ffff).unwrap_or(1));
        println!("PLACES_SEED={seed}");
        Self(seed)
    }

    /// A time below a limit.
    fn below(&mut self, limit: Duration) -> Duration {
        // Vigna's splitmix64: alike seeds have unlike numbers.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(number % limit)
    }
}

/// The package, and the runner that is to run its tests.
struct Stage {
    runner: PathBuf,
    package: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        // Whatever loses its parent comes here, so that nothing can be left unseen.
        set_child_subreaper(true)?;
        Ok(Self {
            runner: xtask()?,
            package: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample"),
        })
    }

    fn start(&self, dog: Option<Duration>) -> Result<Child> {
        let mut command = in_package(&self.runner, &self.package)?;
        if let Some(dog) = dog {
            command.env("PLACES_SAMPLE_DOG", dog.as_millis().to_string());
        }
        command.args(["test", "--places", "here,vm:bookworm"]);
        Ok(command.spawn()?)
    }

    /// Where the newest run's records lie.
    fn records(&self) -> Result<PathBuf> {
        Ok(fs::canonicalize(target()?.join("kata-test/latest"))?)
    }

    /// A run that nothing happens to, after which nothing of those before it is left.
    fn clean_run(&self) -> Result<Duration> {
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
fn end(mut child: Child) -> Result<ExitStatus> {
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
fn qemu_of(runner: &Child) -> Result<Pid> {
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
fn unfinished() -> Result<BTreeSet<PathBuf>> {
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
            // Scratch folders of others that work at this moment are locked.
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
fn check(outcomes: &[Outcome], what: &str) {
    assert_eq!(outcomes.len(), TESTS, "{what}: {outcomes:#?}");
    for outcome in outcomes {
        let is_told = outcome.outcome == OutcomeKind::Passed || outcome.outcome.is_failure();
        assert!(is_told, "{what}: {outcome:#?}");
    }
}

#[kata_test(when = crate::supplied, serial = "places-packages", timeout = "15m")]
fn a_killed_runner_leaves_records_and_nothing_else() -> Result<()> {
    let stage = Stage::new()?;
    let mut random = Random::seeded();
    stage.clean_run()?;
    let span = stage.clean_run()?;
    for round in 0..ROUNDS {
        let before = stage.records()?;
        let runner = stage.start(None)?;
        let moment = random.below(span);
        thread::sleep(moment);
        kill(Pid::from_raw(i32::try_from(runner.id())?), Signal::SIGKILL)?;
        let status = end(runner)?;
        let what = format!("runner killed after {moment:?} of {span:?}, round {round}");
        let after = stage.records()?;
        // Before it has a plan it knows of no test.
        let known = fs::read_dir(&after)?.count();
        println!("{what}: {status}, {known} files");
        if after != before && after.join("left-to-places").exists() {
            let shards = Shards::merge(&after).with_context(|| what.clone())?;
            check(&shards.outcomes, &what);
        }
        stage.clean_run()?;
    }
    Ok(())
}

#[kata_test(when = crate::supplied, serial = "places-packages", timeout = "15m")]
fn a_killed_qemu_costs_no_more_than_what_it_ran() -> Result<()> {
    let stage = Stage::new()?;
    let mut random = Random::seeded();
    stage.clean_run()?;
    for round in 0..ROUNDS {
        let runner = stage.start(None)?;
        let qemu = qemu_of(&runner)?;
        let moment = random.below(LIFE);
        thread::sleep(moment);
        let hit = kill(qemu, Signal::SIGKILL).is_ok();
        let status = end(runner)?;
        let what = format!("QEMU killed after {moment:?}, round {round}");
        let outcomes = outcomes()?;
        check(&outcomes, &what);
        let failed = outcomes
            .iter()
            .filter(|outcome| outcome.outcome.is_failure());
        let failed: Vec<&Outcome> = failed.collect();
        println!("{what}: {status}, {} failed, hit: {hit}", failed.len());
        assert_eq!(status.success(), failed.is_empty(), "{what}");
        assert!(failed.len() <= 1, "{what}: {failed:#?}");
        assert!(
            failed.iter().all(|outcome| !outcome.reasons.is_empty()),
            "{failed:#?}"
        );
        assert!(
            failed.iter().all(|outcome| outcome.place == "vm:bookworm"),
            "{failed:#?}"
        );
        stage.clean_run()?;
    }
    Ok(())
}

#[kata_test(when = crate::supplied, serial = "places-packages", timeout = "15m")]
fn a_guest_that_dies_takes_one_test_with_it() -> Result<()> {
    let stage = Stage::new()?;
    let mut random = Random::seeded();
    let mut bitten = 0;
    for round in 0..ROUNDS {
        let dog = random.below(Duration::from_secs(1));
        let status = end(stage.start(Some(dog))?)?;
        let what = format!("guest dead a second after {dog:?}, round {round}");
        let outcomes = outcomes()?;
        check(&outcomes, &what);
        let failed: Vec<&Outcome> = outcomes
            .iter()
            .filter(|outcome| outcome.outcome.is_failure())
            .collect();
        println!(
            "{what}: {status}, failed: {:?}",
            failed
                .iter()
                .map(|outcome| &outcome.test)
                .collect::<Vec<_>>()
        );
        // Between two tests it takes none.
        assert!(failed.len() <= 1, "{what}: {failed:#?}");
        for failed in &failed {
            let console = &failed.reasons[0].observed;
            assert!(console.contains("Kernel panic"), "{failed:#?}");
        }
        assert_eq!(status.success(), failed.is_empty(), "{what}");
        bitten += failed.len();
    }
    assert!(bitten > 0, "no guest died while a test ran");
    stage.clean_run()?;
    Ok(())
}
