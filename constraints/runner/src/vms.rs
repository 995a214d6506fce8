//! How many VMs of a place run tests at the same time.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

/// How many VMs of a place may run tests at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vms(Option<NonZeroUsize>);

impl Vms {
    /// At most this many, or `None`: as many as this host has CPUs, if they are a gain.
    #[must_use]
    pub const fn new(most: Option<NonZeroUsize>) -> Self {
        Self(most)
    }

    /// Returns how many VMs to use for tests that are expected to take so long, where a VM takes `start` to
    /// start. A test that has not run yet is expected to take as long as that.
    pub(super) fn count(
        self,
        expected: impl Iterator<Item = Option<Duration>>,
        start: Duration,
    ) -> usize {
        let expected: Vec<Duration> = expected.map(|one| one.unwrap_or(start)).collect();
        let most = match self.0 {
            Some(most) => most.get(),
            // Each is to have more work than its start is.
            None => {
                let work: Duration = expected.iter().sum();
                let by_work = work.as_nanos() / start.as_nanos().max(1);
                let cpus = available_parallelism().map_or(1, NonZeroUsize::get);
                cpus.min(usize::try_from(by_work).unwrap_or(usize::MAX))
            }
        };
        most.clamp(1, expected.len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_vm_is_started_if_it_is_a_gain() {
        let cpus = available_parallelism().unwrap().get();
        let seconds = |each: f64| Some(Duration::from_secs_f64(each));
        let start = Duration::from_secs(1);
        let count = |vms: Vms, tests: &[Option<Duration>]| vms.count(tests.iter().copied(), start);
        let default = Vms::default();
        assert_eq!(count(default, &[seconds(0.01); 100]), 1);
        assert_eq!(count(default, &[seconds(100.0)]), 1, "one test");
        assert_eq!(count(default, &[seconds(100.0); 100]), cpus);
        assert_eq!(count(default, &[None; 2]), cpus.min(2), "not known");
        assert_eq!(count(default, &[]), 1);

        let three = Vms::new(NonZeroUsize::new(3));
        assert_eq!(count(three, &[seconds(0.01); 100]), 3);
        assert_eq!(count(three, &[seconds(0.01); 2]), 2);
    }
}
