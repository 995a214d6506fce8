//! A terminal as the standard streams of a program.
#![expect(unsafe_code, reason = "the ioctls of terminals have no safe form")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use guest_agent::protocol::{TerminalSize, User};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::unistd::fchown;

/// A terminal: the side of the host, and the program's.
pub(crate) struct Terminal {
    pub(crate) host: OwnedFd,
    pub(crate) program: OwnedFd,
}

impl Terminal {
    /// Makes a terminal of a user.
    pub(crate) fn new(size: TerminalSize, user: Option<User>) -> io::Result<Self> {
        let OpenptyResult { master, slave } = openpty(&window(size), None)?;
        for fd in [&master, &slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        if let Some(User { uid, gid }) = user {
            fchown(&slave, Some(uid.into()), Some(gid.into()))?;
        }
        Ok(Self {
            host: master,
            program: slave,
        })
    }
}

/// Sets the size of a terminal. Its foreground processes get SIGWINCH.
pub(crate) fn resize(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = window(size);
    // SAFETY: the call reads one size.
    let set = unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCSWINSZ,
            &raw const size,
        )
    };
    Ok(Errno::result(set).map(drop)?)
}

/// Makes standard input the controlling terminal of this session, whose leader this process is.
pub(crate) fn control() -> nix::Result<()> {
    // SAFETY: the call has no pointers.
    let set = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
    Errno::result(set).map(drop)
}

fn window(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
