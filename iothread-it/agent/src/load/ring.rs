//! Direct I/O with many outstanding operations, by io_uring.
#![expect(
    unsafe_code,
    reason = "the kernel uses addresses of memory after the call that passes them"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use guest_agent::protocol::Direction;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use nix::errno::Errno;

use crate::buffer::Buffer;

/// A file, and slots that have a buffer and at most one outstanding operation each.
pub(crate) struct Ring {
    ring: IoUring,
    file: File,
    slots: Vec<Slot>,
    outstanding: usize,
}

struct Slot {
    buffer: Buffer,
    /// Whether the kernel uses the buffer.
    busy: bool,
}

/// An operation that has ended.
pub(crate) struct Completion {
    pub(crate) slot: usize,
    /// The number of bytes transferred.
    pub(crate) result: io::Result<usize>,
}

impl Ring {
    pub(crate) fn new(file: File, depth: u32, block_size: usize) -> io::Result<Self> {
        let slot = || Slot {
            buffer: Buffer::new(block_size),
            busy: false,
        };
        Ok(Self {
            ring: IoUring::new(depth)?,
            file,
            slots: std::iter::repeat_with(slot).take(depth as usize).collect(),
            outstanding: 0,
        })
    }

    /// Returns the number of outstanding operations.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues an operation on a slot's whole buffer; the next [`Ring::wait`] submits it. `fill` fills the
    /// buffer before.
    ///
    /// # Panics
    ///
    /// If the slot has an outstanding operation.
    pub(crate) fn issue(
        &mut self,
        slot: usize,
        direction: Direction,
        offset: u64,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let Slot { buffer, busy } = &mut self.slots[slot];
        assert!(!*busy, "a slot has one operation at a time");
        let bytes = buffer.bytes();
        fill(bytes);
        let file = Fd(self.file.as_raw_fd());
        let length = u32::try_from(bytes.len()).expect("a block is at most 1 MiB");
        let entry = match direction {
            Direction::Read => opcode::Read::new(file, bytes.as_mut_ptr(), length)
                .offset(offset)
                .build(),
            Direction::Write => opcode::Write::new(file, bytes.as_ptr(), length)
                .offset(offset)
                .build(),
        };
        *busy = true;
        self.outstanding += 1;
        // SAFETY: the slot is busy until its completion is taken. Until then its memory is neither moved
        // nor freed nor used: `issue` refuses, and `drop` leaks it. The file is open until then, or the
        // kernel has a reference of its own.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
        pushed.expect("the queue has an entry for each slot");
    }

    /// Submits the queued operations, and waits until one has ended. Returns those that have ended, or none
    /// at the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) -> io::Result<Vec<Completion>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::from(left);
            let args = SubmitArgs::new().timespec(&timeout);
            let waited = self.ring.submitter().submit_with_args(1, &args);
            let ended = self.take_ended();
            // Entries that the kernel has no room for stay in the queue.
            match waited
                .map_err(|error| (Errno::from_raw(error.raw_os_error().unwrap_or(0)), error))
            {
                _ if !ended.is_empty() => return Ok(ended),
                Err((Errno::ETIME, _)) => return Ok(ended),
                Ok(_) if left.is_zero() => return Ok(ended),
                // After a submission the wait may end early, without a reason.
                Ok(_) | Err((Errno::EINTR, _)) => {}
                Err((_, error)) => return Err(error),
            }
        }
    }

    fn take_ended(&mut self) -> Vec<Completion> {
        let mut ended = Vec::new();
        for entry in self.ring.completion() {
            let slot = usize::try_from(entry.user_data()).expect("user data is a slot's index");
            self.slots[slot].busy = false;
            self.outstanding -= 1;
            let result = usize::try_from(entry.result())
                .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            ended.push(Completion { slot, result });
        }
        ended
    }
}

impl Drop for Ring {
    /// Leaks the buffers that the kernel still uses.
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            if slot.busy {
                std::mem::forget(slot.buffer);
            }
        }
    }
}
