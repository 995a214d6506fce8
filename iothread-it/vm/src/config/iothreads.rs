//! How the pool's threads are made and chosen.

use std::num::NonZeroUsize;

use iothread_hotplug::Polling;

use super::CpuList;
use iothread_pool::{IoThreadId, Placement};

/// `enable_iothreads`, `indep_iothreads` and the keys that are ours. What is not said is as in Kata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoThreads {
    /// How many threads there are: `indep_iothreads`, if `enable_iothreads` is on.
    pub count: usize,
    /// `indep_iothreads_placement`: where a disk goes that does not say. Kata's is `first`.
    pub placement: Placement,
    /// How the threads poll.
    pub polling: Polling,
    /// `indep_iothreads_cpus`: the host CPUs of each thread. `indep_iothread_`*n* takes entry *n*
    /// modulo their number, also if `Vm::add_thread` added it. Empty: not bound.
    pub cpus: Vec<CpuList>,
}

impl IoThreads {
    /// Returns the CPUs of a thread, if it is bound: by the number in its id, not by its position in
    /// the pool, which changes when another thread is removed.
    pub fn cpus_of(&self, thread: &IoThreadId) -> Option<&CpuList> {
        let number = usize::try_from(thread.indep_number()?).ok()?;
        let entry = number.checked_rem(self.cpus.len())?;
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

#[cfg(test)]
mod tests {
    use iothread_pool::{Pool, SlotTable};

    use super::*;

    #[test]
    fn a_thread_added_after_a_removal_does_not_take_the_cpus_of_another() {
        let cpus = ["0", "1", "2"].map(|cpu| cpu.parse().unwrap()).into();
        let config = IoThreads {
            count: 3,
            cpus,
            ..IoThreads::default()
        };
        let threads = (0..3).map(IoThreadId::indep).collect();
        let mut pool = Pool::new(threads, SlotTable::root_ports(1)).unwrap();
        pool.retire(&IoThreadId::indep(0)).unwrap();
        let added = pool.new_thread();
        pool.admit(added);
        let bound: Vec<_> = pool.threads().iter().map(|id| config.cpus_of(id)).collect();
        assert_eq!(bound, [1, 2, 0].map(|n| config.cpus.get(n)));
    }
}
