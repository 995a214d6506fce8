//! The threads that serve a device.

use super::{IoThreadId, VqMapping};

/// The threads that serve a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
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

    /// Returns every thread that it names.
    pub fn threads(&self) -> impl Iterator<Item = &IoThreadId> {
        let mapping = match self {
            Self::Mapped(mapping) => Some(mapping.threads()),
            Self::MainLoop | Self::Thread(_) => None,
        };
        self.thread()
            .into_iter()
            .chain(mapping.into_iter().flatten())
    }

    /// Returns whether it names a thread.
    pub(super) fn names(&self, thread: &IoThreadId) -> bool {
        self.threads().any(|named| named == thread)
    }
}
