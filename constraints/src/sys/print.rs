//! Prints with write(2): past Rust's buffers, which a forked child would print again, and past
//! libtest's capture.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

/// Writes to the real standard output; `false` if it cannot be written to.
pub(crate) fn stdout(text: &[u8]) -> bool {
    write_all(std::io::stdout(), text)
}

/// Writes to the real standard error, and ignores errors.
pub(crate) fn stderr(text: &str) {
    write_all(std::io::stderr(), text.as_bytes());
}

fn write_all(to: impl std::os::fd::AsFd, mut text: &[u8]) -> bool {
    let to: BorrowedFd<'_> = to.as_fd();
    while !text.is_empty() {
        match nix::unistd::write(to, text) {
            Ok(written) => text = &text[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(to),
            Err(_) => return false,
        }
    }
    true
}

/// Waits until the file is writable: another program may have made a terminal non-blocking.
fn wait(to: BorrowedFd<'_>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let _ = poll(
        &mut [PollFd::new(to, PollFlags::POLLOUT)],
        PollTimeout::NONE,
    );
}
