//! The threads of a pool, in the order in which they were made.

use std::collections::BTreeSet;

use super::text::list;
use super::{IoThreadId, PoolError};

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

/// The threads. What each serves follows from the leases.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads {
    pub(super) all: Vec<IoThreadId>,
    /// The next thread's. Numbers are never used again: QEMU would mix up an old thread that goes on
    /// and a new one with its id.
    pub(super) next_number: usize,
    pub(super) last_in_turn: Option<IoThreadId>,
}

impl Threads {
    pub(super) fn new(threads: Vec<IoThreadId>) -> Result<Self, PoolError> {
        let mut seen = BTreeSet::new();
        if let Some(thread) = threads.iter().find(|thread| !seen.insert(*thread)) {
            return Err(PoolError::DuplicateThread {
                thread: thread.clone(),
            });
        }
        Ok(Self {
            next_number: number_after(&threads),
            all: threads,
            last_in_turn: None,
        })
    }

    pub(super) fn make(&mut self) -> NewThread {
        let id = IoThreadId::indep(self.next_number);
        self.next_number += 1;
        NewThread(id)
    }

    pub(super) fn commit(&mut self, new: NewThread) -> IoThreadId {
        self.all.push(new.0.clone());
        new.0
    }

    /// Removes a thread, which the caller has found idle.
    pub(super) fn remove(&mut self, thread: &IoThreadId) {
        let Some(place) = self.all.iter().position(|known| known == thread) else {
            return;
        };
        if self.last_in_turn.as_ref() == Some(thread) {
            // The turn goes on behind it, and not from the start.
            let before = place.checked_sub(1).map(|before| self.all[before].clone());
            self.last_in_turn = before;
        }
        self.all.remove(place);
    }

    /// Puts a thread back in.
    pub(super) fn restore(&mut self, thread: IoThreadId, position: usize) {
        if !self.all.contains(&thread) {
            self.all.insert(position.min(self.all.len()), thread);
        }
    }

    pub(super) fn check_exists(&self, thread: &IoThreadId) -> Result<(), PoolError> {
        if self.all.contains(thread) {
            return Ok(());
        }
        Err(PoolError::NoSuchThread {
            wanted: thread.clone(),
            have: list(&self.all, "none"),
        })
    }
}

/// Returns the lowest number above those in the ids of threads.
pub(super) fn number_after(threads: &[IoThreadId]) -> usize {
    let greatest = threads.iter().filter_map(IoThreadId::indep_number).max();
    greatest.map_or(0, |number| number as usize + 1)
}
