//! The built-in placement policies.

use std::num::NonZeroUsize;

use super::text::queues_text;
use super::{
    Assignment, Choice, IoThreadId, PlacementRequest, Policy, PoolError, State, ThreadState,
    VqMapping,
};

/// The policy that chooses the threads of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Placement {
    /// The pool's first thread, as Kata does for every disk.
    #[default]
    First,
    /// The next thread in turn.
    RoundRobin,
    /// The thread with the least load: queues, each with the weight of its device. The first of
    /// those.
    LeastLoaded,
    /// An idle thread, which then serves nothing else.
    Dedicated,
    /// This thread.
    Pinned(IoThreadId),
    /// This many threads, the least loaded ones, with the queues assigned round-robin
    /// (`iothread-vq-mapping` without `vqs`). Needs QEMU 9.2, and as many queues as threads.
    Spread(NonZeroUsize),
    /// Each queue to the thread named for it (`iothread-vq-mapping` with `vqs`). Needs QEMU 9.2.
    Mapped(VqMapping),
    /// QEMU's main loop, and no thread of the pool.
    MainLoop,
}

impl Policy for Placement {
    fn choose(&self, request: &PlacementRequest<'_>, state: &State) -> Result<Choice, PoolError> {
        let or_none = |thread: Option<_>| thread.ok_or_else(|| none_to_share(state));
        match self {
            Self::MainLoop => Ok(Choice::new(
                Assignment::MainLoop,
                "the main loop was asked for",
            )),
            Self::First => {
                let first: &ThreadState = or_none(state.shared().next())?;
                Ok(Choice::thread(&first.id, "the pool's first thread"))
            }
            Self::RoundRobin => {
                let next = or_none(state.next_in_turn())?;
                Ok(Choice::thread(&next.id, "its turn").in_turn())
            }
            Self::LeastLoaded => {
                let least = or_none(state.least_loaded().next())?;
                let mut why = format!("the least loaded, with {}", queues_text(least.queues));
                if least.load != least.queues as u64 {
                    why += &format!(" of load {}", least.load);
                }
                Ok(Choice::thread(&least.id, why))
            }
            Self::Dedicated => {
                let idle = state.shared().find(|thread| thread.devices.is_empty());
                let idle = idle.ok_or(PoolError::NoIdleThread {
                    total: state.threads.len(),
                })?;
                let why = "idle, and dedicated from now on";
                Ok(Choice::thread(&idle.id, why).dedicated())
            }
            Self::Pinned(pinned) => Ok(Choice::thread(pinned, "it was asked for")),
            Self::Spread(_) | Self::Mapped(_) if request.one_thread => Err(PoolError::OneThread {
                id: request.device.clone(),
            }),
            Self::Spread(count) => spread(*count, request.demand.queues, state),
            Self::Mapped(mapping) => Ok(Choice::new(
                Assignment::Mapped(mapping.clone()),
                "the mapping was asked for",
            )),
        }
    }
}

fn spread(count: NonZeroUsize, queues: u16, state: &State) -> Result<Choice, PoolError> {
    let wanted = count.get();
    if wanted > usize::from(queues) {
        return Err(PoolError::TooFewQueues { wanted, queues });
    }
    let least = state.least_loaded().take(wanted);
    let threads: Vec<_> = least.map(|thread| thread.id.clone()).collect();
    if threads.len() < wanted {
        let have = threads.len();
        return Err(PoolError::TooFewThreads { wanted, have });
    }
    let mapping = VqMapping::round_robin(threads)?;
    let why = format!("the {count} least loaded");
    Ok(Choice::new(Assignment::Mapped(mapping), why))
}

fn none_to_share(state: &State) -> PoolError {
    if state.threads.is_empty() {
        PoolError::NoThreads
    } else {
        PoolError::TooFewThreads { wanted: 1, have: 0 }
    }
}
