//! One thread of a load.

use std::time::{Duration, Instant};

use guest_agent::pattern;
use guest_agent::protocol::{Direction, Failure, LoadReport};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::latency::Histogram;
use super::plan::Plan;
use super::ring::{Completion, Ring};
use super::running::Arrival;
use super::share::Share;
use crate::failure::OrFailure;
use crate::pattern_io;

/// How long the outstanding operations may take after the last one has been started. The others count as
/// errors.
const GRACE: Duration = Duration::from_secs(30);

/// A thread that is ready to start.
pub(crate) struct Worker<'a> {
    plan: &'a Plan<'a>,
    index: u32,
    share: Share,
    ring: Ring,
    /// The number of operations that may still be started.
    left: u64,
    /// The start time of each slot's operation.
    started: Vec<Instant>,
    tally: Tally,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(plan: &'a Plan<'a>, index: u32) -> Result<Self, Failure> {
        let load = plan.load;
        let file = pattern_io::open(&plan.node, load.direction)?;
        let ring = Ring::new(file, load.depth, load.block_size as usize)
            .or_failure(|| "set up io_uring, which a load needs in the guest's kernel".into())?;
        Ok(Self {
            plan,
            index,
            share: Share::new(load, index),
            ring,
            left: load.operations.unwrap_or(u64::MAX),
            started: vec![Instant::now(); load.depth as usize],
            tally: Tally::default(),
        })
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Starts operations until `end`, the last operation, or an error, and then waits for the outstanding
    /// ones.
    pub(crate) fn run(mut self, end: Instant, mut arrival: Arrival<'_>) -> Result<Tally, Failure> {
        self.bind()?;
        for slot in 0..self.plan.load.depth as usize {
            self.start(slot, end);
        }
        let mut grace = None;
        while self.ring.outstanding() > 0 {
            if grace.is_none() && !self.may_start(end) {
                grace = Some(Instant::now() + GRACE);
            }
            let ended = self
                .ring
                .wait(grace.unwrap_or(end))
                .or_failure(|| "wait for io_uring".into())?;
            if ended.is_empty() && grace.is_some() {
                let lost = self.ring.outstanding();
                let oldest = self.started.iter().min().copied();
                self.tally.fail(lost, oldest.unwrap_or(end), || {
                    format!("{lost} operations did not end within {} s", GRACE.as_secs())
                });
                break;
            }
            for completion in ended {
                self.count(&completion);
                arrival.arrive();
                self.start(completion.slot, end);
            }
        }
        Ok(self.tally)
    }

    fn may_start(&self, end: Instant) -> bool {
        self.left > 0 && self.tally.errors == 0 && Instant::now() < end
    }

    fn start(&mut self, slot: usize, end: Instant) {
        if !self.may_start(end) {
            return;
        }
        self.left -= 1;
        self.started[slot] = Instant::now();
        let place = self.share.advance();
        let (direction, seed) = (self.plan.load.direction, self.plan.load.extent.seed);
        self.ring.issue(slot, direction, place, |bytes| {
            if direction == Direction::Write {
                pattern::fill(seed, place, bytes);
            }
        });
    }

    fn count(&mut self, completion: &Completion) {
        let expected = self.plan.load.block_size as usize;
        let started = self.started[completion.slot];
        match &completion.result {
            Ok(moved) if *moved == expected => self.tally.succeed(expected, started.elapsed()),
            Ok(moved) => self.tally.fail(1, started, || {
                format!("only {moved} of {expected} bytes were transferred")
            }),
            Err(error) => self.tally.fail(1, started, || error.to_string()),
        }
    }

    fn bind(&self) -> Result<(), Failure> {
        let Some(cpu) = self.plan.cpu(self.index) else {
            return Ok(());
        };
        let bind = || {
            let mut set = CpuSet::new();
            set.set(cpu as usize)?;
            sched_setaffinity(Pid::from_raw(0), &set)
        };
        bind().or_failure(|| format!("bind a thread to cpu {cpu}"))
    }
}

/// The results of one or more threads.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    operations: u64,
    bytes: u64,
    errors: u64,
    latencies: Histogram,
    /// With its time, to find the first error of several threads.
    first_error: Option<(Instant, String)>,
    /// The start time of the earliest operation that failed.
    first_failed: Option<Instant>,
}

impl Tally {
    pub(crate) fn plus(self, other: Self) -> Self {
        let first_errors = [self.first_error, other.first_error];
        let first_failed = [self.first_failed, other.first_failed];
        Self {
            operations: self.operations + other.operations,
            bytes: self.bytes + other.bytes,
            errors: self.errors + other.errors,
            latencies: self.latencies.plus(&other.latencies),
            first_error: first_errors.into_iter().flatten().min(),
            first_failed: first_failed.into_iter().flatten().min(),
        }
    }

    pub(crate) fn report(self, elapsed: Duration) -> LoadReport {
        LoadReport {
            operations: self.operations,
            bytes: self.bytes,
            errors: self.errors,
            failed_for_ms: self.first_failed.map(|first| milliseconds(first.elapsed())),
            latencies: self.latencies.report(),
            first_error: self.first_error.map(|(_, error)| error),
            elapsed_ms: milliseconds(elapsed),
        }
    }

    fn succeed(&mut self, bytes: usize, took: Duration) {
        self.operations += 1;
        self.latencies.count(took);
        self.bytes += bytes as u64;
    }

    fn fail(&mut self, errors: usize, started: Instant, why: impl FnOnce() -> String) {
        self.errors += errors as u64;
        self.first_failed = self.first_failed.into_iter().chain([started]).min();
        self.first_error
            .get_or_insert_with(|| (Instant::now(), why()));
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_all_threads_is_the_earliest_in_time() {
        let mut early = Tally::default();
        let now = Instant::now();
        let before = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        early.fail(1, before(200), || "early".into());
        let mut late = Tally::default();
        late.succeed(512, Duration::from_micros(7));
        late.fail(2, before(100), || "late".into());
        late.fail(1, before(9_000), || "later".into());
        for sum in [early.clone().plus(late.clone()), late.plus(early)] {
            let report = sum.report(Duration::from_millis(3));
            assert_eq!(report.first_error.as_deref(), Some("early"));
            assert_eq!(
                (report.operations, report.bytes, report.errors),
                (1, 512, 4)
            );
            assert_eq!(report.latencies.longest_us, 7);
            assert!(report.failed_for_ms >= Some(9_000), "{report:?}");
        }
    }
}
