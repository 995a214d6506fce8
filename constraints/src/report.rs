//! The pipe by which a test's own process reports to its harness.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc::PIPE_BUF;
use nix::unistd::{Pid, getpid};

use crate::sys::Message;

/// The pipe, and the process of the test.
static PIPE: OnceLock<(OwnedFd, Pid)> = OnceLock::new();

/// Makes this process the one that reports there.
pub(crate) fn open(pipe: OwnedFd) {
    let _ = PIPE.set((pipe, getpid()));
}

/// Whether this process, or one that it was forked from, is a test's.
pub(crate) fn is_open() -> bool {
    PIPE.get().is_some()
}

/// The pipe's descriptor.
pub(crate) fn fd() -> Option<RawFd> {
    PIPE.get().map(|(pipe, _)| pipe.as_raw_fd())
}

/// Reports how the test ends, if this is the test's own process. A process that the test forked has
/// the pipe too, and may leave the test's body as well.
pub(crate) fn send_own(message: Message) {
    if PIPE.get().is_some_and(|(_, test)| *test == getpid()) {
        send(message);
    }
}

/// Reports something from any process of the test.
pub(crate) fn send(message: Message) {
    let Some((pipe, _)) = PIPE.get() else { return };
    // One atomic write(2): several processes of the test may report at once.
    let line = message.encode_within(PIPE_BUF);
    // The write fails only if the harness is gone.
    while nix::unistd::write(pipe.as_fd(), line.as_bytes()) == Err(Errno::EINTR) {}
}
