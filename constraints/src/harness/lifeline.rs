//! The lifeline: a pipe whose hang-up shows that the runner has ended, even if it was killed.
//!
//! Processes between the runner and this one, such as cargo, do not forward signals. So the runner
//! keeps the writing end of a pipe, and every process below it has the reading end.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::record::LIFELINE;

/// The reading end of the runner's pipe, if a runner is above this process.
#[derive(Default)]
pub(super) struct Lifeline(Option<File>);

impl Lifeline {
    /// Opens the pipe that the environment names. It may be closed: a program in between may close
    /// descriptors that it does not know.
    pub(super) fn here() -> Self {
        let number = std::env::var(LIFELINE).ok();
        let number = number.and_then(|text| text.parse::<u32>().ok());
        // Opened again: the number may be another file by now, and tests do not inherit a new
        // descriptor.
        Self(number.and_then(|number| open_pipe(&format!("/proc/self/fd/{number}"))))
    }

    /// The descriptor to poll.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Whether the runner has ended.
    pub(super) fn is_cut(&self) -> bool {
        let Some(fd) = self.fd() else { return false };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        ready
            && fds[0]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLHUP))
    }
}

fn open_pipe(path: &str) -> Option<File> {
    use std::os::unix::fs::FileTypeExt;
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = File::options();
    options.read(true).custom_flags(O_NONBLOCK);
    is_pipe.then(|| options.open(path).ok()).flatten()
}
