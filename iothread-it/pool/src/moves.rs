//! Moves whose reply is outstanding, and removals that QEMU refused.

use super::{Allocation, DeviceId, IoThreadId, Pool, PoolError, ThreadLease};

impl Pool {
    /// Records that a device that holds a thread may also be on another: the reply to its move is
    /// outstanding. Both threads are in use until it is [released](Self::release).
    pub fn may_be_on(&mut self, id: &DeviceId, lease: &ThreadLease) {
        self.note_turn(lease);
        self.possible.push((id.clone(), lease.clone()));
    }

    /// Records that a device that holds a thread [may be on](Self::may_be_on) this one no more: QEMU has
    /// refused to move it there.
    pub fn is_not_on(&mut self, id: &DeviceId, lease: &ThreadLease) {
        let mut possible = self.possible.iter();
        let same = |on: &ThreadLease| on.assignment == lease.assignment;
        if let Some(found) = possible.position(|(known, on)| known == id && same(on)) {
            self.possible.remove(found);
        }
    }

    /// Records that a device that holds a thread has been moved to another, which it
    /// [may be on](Self::may_be_on). Any other is free.
    ///
    /// # Errors
    /// If it holds no lease.
    pub fn is_on(&mut self, id: &DeviceId, lease: ThreadLease) -> Result<(), PoolError> {
        self.release(id)?;
        self.note_turn(&lease);
        self.hold(id, Allocation::Thread(lease));
        Ok(())
    }

    /// Puts a removed thread back where it was: QEMU has refused to delete it.
    pub fn restore_thread(&mut self, thread: IoThreadId, position: usize) {
        self.threads.restore(thread, position);
    }
}
