//! The configuration of the IOThread pool.

use std::num::NonZeroUsize;

use qmp_client::command::IoThreadProperties;

use super::CpuList;
use iothread_pool::{IoThreadId, Placement};

/// `enable_iothreads`, `indep_iothreads` and our own keys. The defaults are those of Kata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoThreads {
    /// The number of threads: `indep_iothreads` if `enable_iothreads` is true, else 0.
    pub count: usize,
    /// `indep_iothreads_placement`: the placement of disks without one of their own. Kata uses `first`.
    pub placement: Placement,
    /// Polling, batches and worker threads of each thread.
    pub properties: IoThreadProperties,
    /// `indep_iothreads_cpus`: the host CPUs of each thread. `indep_iothread_`*n* takes entry *n*
    /// modulo their number, also if `Vm::add_thread` added it. If empty, threads are not pinned.
    pub cpus: Vec<CpuList>,
}

impl IoThreads {
    /// Returns the CPUs of a thread if it is pinned.
    ///
    /// They depend on the number in its id. Its position in the pool changes when another thread is
    /// removed.
    pub fn cpus_of(&self, thread: &IoThreadId) -> Option<&CpuList> {
        let number = usize::try_from(thread.indep_number()?).ok()?;
        let entry = number.checked_rem(self.cpus.len())?;
        self.cpus.get(entry)
    }
}

/// The values of `indep_iothreads_placement`, for messages.
pub(super) const PLACEMENTS: &str =
    "\"first\", \"round-robin\", \"least-loaded\", \"dedicated\" or \"spread:N\"";

/// Parses the value of `indep_iothreads_placement`.
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
        pool.remove_thread(&IoThreadId::indep(0)).unwrap();
        let added = pool.new_thread();
        pool.commit_thread(added);
        let bound: Vec<_> = pool.threads().iter().map(|id| config.cpus_of(id)).collect();
        assert_eq!(bound, [1, 2, 0].map(|n| config.cpus.get(n)));
    }
}
