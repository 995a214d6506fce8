//! Queues of one device on several threads.

use std::collections::BTreeSet;

use super::{IoThreadId, VqMappingError};

/// The value of a device's `iothread-vq-mapping`. Either every thread has its queues named or none
/// has, as QEMU demands; a mixture cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Kind", into = "Kind"))]
pub struct VqMapping(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
enum Kind {
    /// Queue *i* goes to thread *i* modulo their number.
    RoundRobin(Vec<IoThreadId>),
    Explicit(Vec<(IoThreadId, Vec<u16>)>),
}

impl VqMapping {
    /// Assigns queues to threads round-robin.
    ///
    /// # Errors
    /// If there is no thread, or one twice.
    pub fn round_robin(threads: Vec<IoThreadId>) -> Result<Self, VqMappingError> {
        check_threads(threads.iter())?;
        Ok(Self(Kind::RoundRobin(threads)))
    }

    /// Names the queues of each thread. Which queues there are is known once the device is:
    /// [`check`](Self::check) looks at that.
    ///
    /// # Errors
    /// If there is no thread, one twice, or one without queues.
    pub fn explicit(threads: Vec<(IoThreadId, Vec<u16>)>) -> Result<Self, VqMappingError> {
        check_threads(threads.iter().map(|(thread, _)| thread))?;
        if let Some((thread, _)) = threads.iter().find(|(_, queues)| queues.is_empty()) {
            return Err(VqMappingError::NoQueues {
                thread: thread.clone(),
            });
        }
        Ok(Self(Kind::Explicit(threads)))
    }

    /// Returns the threads, in order.
    pub fn threads(&self) -> impl Iterator<Item = &IoThreadId> {
        self.entries().map(|(thread, _)| thread)
    }

    /// Returns each thread with the queues that are named for it, if they are named.
    pub fn entries(&self) -> impl Iterator<Item = (&IoThreadId, Option<&[u16]>)> {
        let (round_robin, named): (&[_], &[_]) = match &self.0 {
            Kind::RoundRobin(threads) => (threads, &[]),
            Kind::Explicit(threads) => (&[], threads),
        };
        let round_robin = round_robin.iter().map(|thread| (thread, None));
        let named = named
            .iter()
            .map(|(thread, queues)| (thread, Some(queues.as_slice())));
        round_robin.chain(named)
    }

    /// Returns how many of `queues` queues a thread serves. `None`: it is not named.
    pub fn queues_of(&self, thread: &IoThreadId, queues: u16) -> Option<usize> {
        match &self.0 {
            Kind::Explicit(threads) => {
                let entry = threads.iter().find(|(named, _)| named == thread);
                entry.map(|(_, queues)| queues.len())
            }
            Kind::RoundRobin(threads) => {
                let turn = threads.iter().position(|entry| entry == thread)?;
                Some((turn..usize::from(queues)).step_by(threads.len()).count())
            }
        }
    }

    /// Checks that each of `queues` queues is mapped once.
    ///
    /// # Errors
    /// For the first queue that is not, with QEMU's message.
    pub fn check(&self, queues: u16) -> Result<(), VqMappingError> {
        let threads = match &self.0 {
            Kind::RoundRobin(threads) if threads.len() > usize::from(queues) => {
                return Err(VqMappingError::TooFewQueues {
                    threads: threads.len(),
                    queues,
                });
            }
            Kind::RoundRobin(_) => return Ok(()),
            Kind::Explicit(threads) => threads,
        };
        let mut mapped = BTreeSet::new();
        for (thread, named) in threads {
            for &queue in named {
                let thread = thread.clone();
                if queue >= queues {
                    return Err(VqMappingError::QueueOutOfRange {
                        queue,
                        thread,
                        queues,
                    });
                }
                if !mapped.insert(queue) {
                    return Err(VqMappingError::QueueTwice { queue, thread });
                }
            }
        }
        match (0..queues).find(|queue| !mapped.contains(queue)) {
            Some(queue) => Err(VqMappingError::QueueMissing { queue }),
            None => Ok(()),
        }
    }
}

#[cfg(feature = "serde")]
impl From<VqMapping> for Kind {
    fn from(mapping: VqMapping) -> Self {
        mapping.0
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Kind> for VqMapping {
    type Error = VqMappingError;

    fn try_from(kind: Kind) -> Result<Self, VqMappingError> {
        match kind {
            Kind::RoundRobin(threads) => Self::round_robin(threads),
            Kind::Explicit(threads) => Self::explicit(threads),
        }
    }
}

fn check_threads<'a>(threads: impl Iterator<Item = &'a IoThreadId>) -> Result<(), VqMappingError> {
    let mut seen = BTreeSet::new();
    for thread in threads {
        if !seen.insert(thread) {
            return Err(VqMappingError::DuplicateThread {
                thread: thread.clone(),
            });
        }
    }
    if seen.is_empty() {
        Err(VqMappingError::Empty)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(n: usize) -> IoThreadId {
        IoThreadId::indep(n)
    }

    #[test]
    fn round_robin_distributes_queues_over_at_most_as_many_threads() {
        let mapping = VqMapping::round_robin(vec![thread(0), thread(1), thread(2)]).unwrap();
        let counts = |queues| [0, 1, 2, 3].map(|n| mapping.queues_of(&thread(n), queues));
        assert_eq!(counts(1), [Some(1), Some(0), Some(0), None]);
        assert_eq!(counts(5), [Some(2), Some(2), Some(1), None]);
        assert_eq!(mapping.check(3), Ok(()));
        assert_eq!(
            mapping.check(2).unwrap_err().to_string(),
            "iothread-vq-mapping names 3 IOThreads for 2 queues; name at most one per queue"
        );
    }

    #[test]
    fn errors_use_the_messages_of_qemu() {
        let text = |threads: Vec<(IoThreadId, Vec<u16>)>| {
            let checked = VqMapping::explicit(threads).and_then(|mapping| mapping.check(2));
            checked.unwrap_err().to_string()
        };
        assert_eq!(
            text(vec![(thread(0), vec![0]), (thread(0), vec![1])]),
            "duplicate IOThread name \"indep_iothread_0\" in iothread-vq-mapping"
        );
        assert_eq!(
            text(vec![(thread(0), vec![0, 2])]),
            "vq index 2 for IOThread \"indep_iothread_0\" must be less than num_queues 2 in \
             iothread-vq-mapping"
        );
        assert_eq!(
            text(vec![(thread(0), vec![0, 1]), (thread(1), vec![1])]),
            "cannot assign vq 1 to IOThread \"indep_iothread_1\" because it is already assigned"
        );
        assert_eq!(
            text(vec![(thread(0), vec![1])]),
            "missing vq 0 IOThread assignment in iothread-vq-mapping"
        );
        assert_eq!(
            text(vec![]),
            "an iothread-vq-mapping must name at least one IOThread"
        );
        assert_eq!(
            text(vec![(thread(0), vec![0, 1]), (thread(1), vec![])]),
            "vqs of IOThread \"indep_iothread_1\" is empty in iothread-vq-mapping, which QEMU treats \
             as absent; name at least one queue"
        );
    }
}
