//! The threads of a pool and what each has to do.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::{Assignment, DeviceId, IoThreadId, Placement, PoolError, VqMapping};

/// An id that no thread of this pool had before, for a thread that QEMU is yet to make.
///
/// It cannot be copied: each value commits one thread.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "commit the thread with `Pool::commit_thread` once QEMU has made it"]
pub struct NewThread(IoThreadId);

impl NewThread {
    /// Returns the id for `object-add`.
    pub fn id(&self) -> &IoThreadId {
        &self.0
    }
}

/// An assignment and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) assignment: Assignment,
    pub(super) why: String,
}

/// What a thread has to do.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Devices that name it. QEMU refers to a thread that a mapping names, also if it has no queue.
    devices: usize,
    queues: usize,
}

/// The threads, in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads {
    threads: Vec<IoThreadId>,
    /// A thread that no device names is not in here.
    load: BTreeMap<IoThreadId, Load>,
    dedicated: BTreeMap<IoThreadId, DeviceId>,
    /// The next thread's. Numbers are never used again: QEMU would mix up an old thread that goes on
    /// and a new one with its id.
    next_number: usize,
    last_in_turn: Option<IoThreadId>,
}

impl Threads {
    pub(super) fn new(threads: Vec<IoThreadId>) -> Result<Self, PoolError> {
        let mut seen = BTreeSet::new();
        if let Some(thread) = threads.iter().find(|thread| !seen.insert(*thread)) {
            return Err(PoolError::DuplicateThread {
                thread: thread.clone(),
            });
        }
        let greatest = threads.iter().filter_map(IoThreadId::indep_number).max();
        Ok(Self {
            next_number: greatest.map_or(0, |number| number as usize + 1),
            threads,
            ..Self::default()
        })
    }

    pub(super) fn all(&self) -> &[IoThreadId] {
        &self.threads
    }

    /// Returns how many queues a thread serves.
    pub(super) fn load(&self, thread: &IoThreadId) -> usize {
        self.load.get(thread).map_or(0, |load| load.queues)
    }

    pub(super) fn dedicated_to(&self, thread: &IoThreadId) -> Option<&DeviceId> {
        self.dedicated.get(thread)
    }

    pub(super) fn next_number(&self) -> usize {
        self.next_number
    }

    pub(super) fn skip_numbers_below(&mut self, number: usize) {
        self.next_number = self.next_number.max(number);
    }

    pub(super) fn make(&mut self) -> NewThread {
        let id = IoThreadId::indep(self.next_number);
        self.next_number += 1;
        NewThread(id)
    }

    pub(super) fn commit_thread(&mut self, new: NewThread) -> IoThreadId {
        self.threads.push(new.0.clone());
        new.0
    }

    /// Takes an idle thread out. Whether it is idle the caller knows.
    pub(super) fn remove(&mut self, thread: &IoThreadId) {
        let Some(place) = self.threads.iter().position(|known| known == thread) else {
            return;
        };
        if self.last_in_turn.as_ref() == Some(thread) {
            // The turn goes on behind it, and not from the start.
            let before = place
                .checked_sub(1)
                .map(|before| self.threads[before].clone());
            self.last_in_turn = before;
        }
        self.threads.remove(place);
    }

    /// Chooses without changing anything.
    pub(super) fn choose(&self, placement: &Placement, queues: u16) -> Result<Choice, PoolError> {
        let thread = |thread: &IoThreadId, why: String| Choice {
            assignment: Assignment::Thread(thread.clone()),
            why,
        };
        match placement {
            Placement::MainLoop => Ok(Choice {
                assignment: Assignment::MainLoop,
                why: "the main loop was asked for".into(),
            }),
            Placement::First => {
                let first = self.shared().next().ok_or_else(|| self.none_to_share())?;
                Ok(thread(first, "the pool's first thread".into()))
            }
            Placement::RoundRobin => {
                let next = self.next_in_turn().ok_or_else(|| self.none_to_share())?;
                Ok(thread(next, "its turn".into()))
            }
            Placement::LeastLoaded => {
                let least = self
                    .least_loaded()
                    .next()
                    .ok_or_else(|| self.none_to_share())?;
                let why = format!("the least loaded, with {}", queues_text(self.load(least)));
                Ok(thread(least, why))
            }
            Placement::Dedicated => {
                let idle = self
                    .shared()
                    .find(|thread| !self.load.contains_key(*thread));
                let idle = idle.ok_or(PoolError::NoIdleThread {
                    total: self.threads.len(),
                })?;
                Ok(thread(idle, "idle, and dedicated from now on".into()))
            }
            Placement::Pinned(pinned) => {
                self.check_shared(pinned)?;
                Ok(thread(pinned, "it was asked for".into()))
            }
            Placement::Spread(count) => self.spread(*count, queues),
            Placement::Mapped(mapping) => {
                mapping.threads().try_for_each(|t| self.check_shared(t))?;
                mapping.check(queues)?;
                Ok(Choice {
                    assignment: Assignment::Mapped(mapping.clone()),
                    why: "the mapping was asked for".into(),
                })
            }
        }
    }

    /// Counts what was chosen.
    pub(super) fn take(
        &mut self,
        device: &DeviceId,
        placement: &Placement,
        assignment: &Assignment,
        queues: u16,
    ) {
        for thread in &self.threads {
            if let Some(queues) = assignment.queues_of(thread, queues) {
                let load = self.load.entry(thread.clone()).or_default();
                load.devices += 1;
                load.queues += queues;
            }
        }
        let Assignment::Thread(thread) = assignment else {
            return;
        };
        match placement {
            Placement::Dedicated => {
                self.dedicated.insert(thread.clone(), device.clone());
            }
            Placement::RoundRobin => self.last_in_turn = Some(thread.clone()),
            _ => {}
        }
    }

    /// Counts what a device gives back.
    pub(super) fn give_back(&mut self, device: &DeviceId, assignment: &Assignment, queues: u16) {
        for thread in &self.threads {
            if let Some(queues) = assignment.queues_of(thread, queues)
                && let Some(load) = self.load.get_mut(thread)
            {
                load.devices -= 1;
                load.queues -= queues;
            }
        }
        self.load.retain(|_, load| load.devices > 0);
        self.dedicated.retain(|_, owner| owner != device);
    }

    /// Counts that a device is not on one of the threads that it may be on.
    pub(super) fn give_one_back(&mut self, device: &DeviceId, assignment: &Assignment) {
        let Some(thread) = assignment.thread() else {
            return;
        };
        if let Some(load) = self.load.get_mut(thread) {
            load.devices -= 1;
            load.queues -= 1;
        }
        self.load.retain(|_, load| load.devices > 0);
        let load = &self.load;
        self.dedicated
            .retain(|dedicated, owner| owner != device || load.contains_key(dedicated));
    }

    /// Puts a thread back in.
    pub(super) fn restore(&mut self, thread: IoThreadId, position: usize) {
        if !self.threads.contains(&thread) {
            self.threads
                .insert(position.min(self.threads.len()), thread);
        }
    }

    /// The threads that are not dedicated to a device.
    fn shared(&self) -> impl Iterator<Item = &IoThreadId> {
        let dedicated = |thread: &&IoThreadId| self.dedicated.contains_key(*thread);
        self.threads.iter().filter(move |thread| !dedicated(thread))
    }

    fn least_loaded(&self) -> impl Iterator<Item = &IoThreadId> {
        let mut threads: Vec<_> = self.shared().collect();
        // The order of equals is kept, which is that of their making.
        threads.sort_by_key(|thread| self.load(thread));
        threads.into_iter()
    }

    /// The next thread behind the one that had the last turn.
    fn next_in_turn(&self) -> Option<&IoThreadId> {
        let last = self.last_in_turn.as_ref();
        let place = last.and_then(|last| self.threads.iter().position(|known| known == last));
        let after = place.map_or(0, |place| place + 1);
        let later = self.threads.iter().skip(after);
        let in_turn = later.chain(&self.threads);
        in_turn
            .into_iter()
            .find(|thread| !self.dedicated.contains_key(*thread))
    }

    fn spread(&self, count: NonZeroUsize, queues: u16) -> Result<Choice, PoolError> {
        if count.get() > usize::from(queues) {
            return Err(PoolError::TooFewQueues {
                wanted: count.get(),
                queues,
            });
        }
        let threads: Vec<_> = self.least_loaded().take(count.get()).cloned().collect();
        if threads.len() < count.get() {
            return Err(PoolError::TooFewThreads {
                wanted: count.get(),
                have: threads.len(),
            });
        }
        Ok(Choice {
            assignment: Assignment::Mapped(VqMapping::round_robin(threads)?),
            why: format!("the {count} least loaded"),
        })
    }

    fn check_shared(&self, thread: &IoThreadId) -> Result<(), PoolError> {
        self.check_exists(thread)?;
        match self.dedicated.get(thread) {
            Some(device) => Err(PoolError::Dedicated {
                thread: thread.clone(),
                device: device.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn check_exists(&self, thread: &IoThreadId) -> Result<(), PoolError> {
        if self.threads.contains(thread) {
            return Ok(());
        }
        let names: Vec<&str> = self.threads.iter().map(IoThreadId::as_str).collect();
        Err(PoolError::NoSuchThread {
            wanted: thread.clone(),
            have: if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            },
        })
    }

    fn none_to_share(&self) -> PoolError {
        if self.threads.is_empty() {
            PoolError::NoThreads
        } else {
            PoolError::TooFewThreads { wanted: 1, have: 0 }
        }
    }
}

pub(super) fn queues_text(queues: usize) -> String {
    match queues {
        1 => "1 queue".into(),
        _ => format!("{queues} queues"),
    }
}
