//! Placement policies and their results.

use std::num::NonZeroUsize;

use super::{IoThreadId, VqMapping};

/// The policy that chooses the threads of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Placement {
    /// The pool's first thread, as Kata does for every disk.
    #[default]
    First,
    /// The next thread in turn.
    RoundRobin,
    /// The thread with the fewest queues to serve, the first of those.
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

/// The threads that serve a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// QEMU's main loop.
    MainLoop,
    /// One thread for all queues: the device's `iothread` property.
    Thread(IoThreadId),
    /// Several threads: the device's `iothread-vq-mapping` property.
    Mapped(VqMapping),
}

impl Assignment {
    /// Returns how many of `queues` queues a thread serves. `None`: the mapping does not name it.
    /// `Some(0)`: a mapping names it, so QEMU refers to it, but it has no queue to serve.
    pub fn queues_of(&self, thread: &IoThreadId, queues: u16) -> Option<usize> {
        match self {
            Self::MainLoop => None,
            Self::Thread(serving) => (serving == thread).then_some(usize::from(queues)),
            Self::Mapped(mapping) => mapping.queues_of(thread, queues),
        }
    }

    /// Returns the one thread that serves everything, if one does.
    pub fn thread(&self) -> Option<&IoThreadId> {
        match self {
            Self::Thread(thread) => Some(thread),
            Self::MainLoop | Self::Mapped(_) => None,
        }
    }
}
