//! A token that stops a run.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Stops a run: a descriptor that becomes readable once the run is to stop, so that it can be polled
/// together with others.
#[derive(Clone, Copy, Debug)]
pub struct StopToken<'a>(Option<BorrowedFd<'a>>);

impl<'a> StopToken<'a> {
    /// Never stops.
    pub const NEVER: Self = Self(None);

    /// Stops once this descriptor is readable.
    #[must_use]
    pub fn when_readable(fd: BorrowedFd<'a>) -> Self {
        Self(Some(fd))
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn fd(self) -> Option<BorrowedFd<'a>> {
        self.0
    }

    /// Whether the run is to stop.
    #[must_use]
    pub fn is_requested(self) -> bool {
        self.0.is_some_and(|fd| {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_byte_or_a_hang_up_stops() {
        let (read, mut write) = std::io::pipe().expect("a pipe");
        let stop = StopToken::when_readable(read.as_fd());
        assert!(!stop.is_requested() && !StopToken::NEVER.is_requested());
        write.write_all(b"!").expect("a word");
        assert!(stop.is_requested());
        let (read, write) = std::io::pipe().expect("a pipe");
        drop(write);
        assert!(StopToken::when_readable(read.as_fd()).is_requested());
    }
}
