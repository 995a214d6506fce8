//! The runner, QEMU or the guest is killed at a random time. Each test prints its seed; `PLACES_SEED`
//! repeats it.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kata_test::kata_test;
use kata_test_runner::{Record, Shards};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::commands::outcomes;
use crate::runner_process::{Fixture, check, end, qemu_of};

/// About the lifetime of QEMU in a run.
const QEMU_LIFETIME: Duration = Duration::from_millis(2400);

/// The number of kills per test.
const ROUNDS: usize = 2;

/// The maximum number of kills of QEMU until one fails a test: some are before the first test, which is no failure.
const MAX_ROUNDS: usize = 10;

/// A seeded random number generator.
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

    /// Returns a random duration below a limit.
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

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_killed_runner_leaves_valid_records_only() -> Result<()> {
    let stage = Fixture::new()?;
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

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_qemu_killed_at_a_random_time_fails_one_test() -> Result<()> {
    let stage = Fixture::new()?;
    let mut random = Random::seeded();
    stage.clean_run()?;
    let (mut round, mut failures) = (0, 0);
    while round < ROUNDS || failures == 0 {
        assert!(
            round < MAX_ROUNDS,
            "no QEMU was killed while a test ran in it"
        );
        let runner = stage.start(None)?;
        let qemu = qemu_of(&runner)?;
        let moment = random.below(QEMU_LIFETIME);
        thread::sleep(moment);
        let hit = kill(qemu, Signal::SIGKILL).is_ok();
        let status = end(runner)?;
        let what = format!("QEMU killed after {moment:?}, round {round}");
        let outcomes = outcomes()?;
        check(&outcomes, &what);
        let failed = outcomes
            .iter()
            .filter(|outcome| outcome.outcome.is_failure());
        let failed: Vec<&Record> = failed.collect();
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
        failures += failed.len();
        round += 1;
        stage.clean_run()?;
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_guest_that_panics_at_a_random_time_fails_one_test() -> Result<()> {
    let stage = Fixture::new()?;
    let mut random = Random::seeded();
    let mut failures = 0;
    for round in 0..ROUNDS {
        let panic_after = random.below(Duration::from_secs(1));
        let status = end(stage.start(Some(panic_after))?)?;
        let what = format!("guest dead a second after {panic_after:?}, round {round}");
        let outcomes = outcomes()?;
        check(&outcomes, &what);
        let failed: Vec<&Record> = outcomes
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
        failures += failed.len();
    }
    assert!(failures > 0, "no guest died while a test ran");
    stage.clean_run()?;
    Ok(())
}
