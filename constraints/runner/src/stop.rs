//! How a run that goes on is told to stop.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Tells a run to stop: a descriptor that can be read once it is to. So whoever waits for something
/// else can wait for this too.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a>(Option<BorrowedFd<'a>>);

impl<'a> Stop<'a> {
    /// Nobody tells it to.
    pub const NEVER: Self = Self(None);

    /// It is to stop once this can be read.
    #[must_use]
    pub fn when_readable(fd: BorrowedFd<'a>) -> Self {
        Self(Some(fd))
    }

    /// What to poll for.
    #[must_use]
    pub fn fd(self) -> Option<BorrowedFd<'a>> {
        self.0
    }

    /// Says whether it is to stop by now.
    #[must_use]
    pub fn is_asked(self) -> bool {
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
    fn a_word_or_the_end_of_its_writer_stops() {
        let (read, mut write) = std::io::pipe().expect("a pipe");
        let stop = Stop::when_readable(read.as_fd());
        assert!(!stop.is_asked() && !Stop::NEVER.is_asked());
        write.write_all(b"!").expect("a word");
        assert!(stop.is_asked());
        let (read, write) = std::io::pipe().expect("a pipe");
        drop(write);
        assert!(Stop::when_readable(read.as_fd()).is_asked());
    }
}
