//! How the pool's threads are made and chosen.

use std::num::NonZeroUsize;

use iothread_hotplug::Polling;

use super::CpuList;
use iothread_pool::Placement;

/// `enable_iothreads`, `indep_iothreads` and the keys that are ours. What is not said is as in Kata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoThreads {
    /// How many threads there are: `indep_iothreads`, if `enable_iothreads` is on.
    pub count: usize,
    /// `indep_iothreads_placement`: where a disk goes that does not say. Kata's is `first`.
    pub placement: Placement,
    /// How the threads poll.
    pub polling: Polling,
    /// `indep_iothreads_cpus`: the host CPUs of each thread. Thread *n* takes entry *n* modulo
    /// their number, also if it was added at run time by `Vm::add_thread`. Empty: not bound.
    pub cpus: Vec<CpuList>,
}

impl IoThreads {
    /// Returns the CPUs of the *n*th thread, if it is bound.
    pub fn cpus_of(&self, n: usize) -> Option<&CpuList> {
        let entry = n.checked_rem(self.cpus.len())?;
        self.cpus.get(entry)
    }
}

/// The placements that a configuration can ask for, as it writes them.
pub(super) const PLACEMENTS: &str =
    "\"first\", \"round-robin\", \"least-loaded\", \"dedicated\" or \"spread:N\"";

/// Reads a placement as a configuration writes it.
pub(super) fn placement(text: &str) -> Option<Placement> {
    match text {
        "first" => Some(Placement::First),
        "round-robin" => Some(Placement::RoundRobin),
        "least-loaded" => Some(Placement::LeastLoaded),
        "dedicated" => Some(Placement::Dedicated),
        _ => {
            let count = text.strip_prefix("spread:")?;
            count.parse::<NonZeroUsize>().ok().map(Placement::Spread)
        }
    }
}
