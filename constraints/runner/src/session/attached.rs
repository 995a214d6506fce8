//! A program in a place that has the streams and signals of its caller, as if it ran here.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::read;

/// A command for [`Session::attach`](super::Session::attach).
#[derive(Clone, Copy, Debug)]
pub struct AttachedCommand<'a> {
    /// The program. `None`: the binary that the session was opened for.
    pub program: Option<&'a Path>,
    /// Its arguments.
    pub arguments: &'a [&'a OsStr],
    /// Variables in addition to those of the binary and of the place.
    pub env: &'a [(OsString, OsString)],
    /// Its working directory.
    pub directory: &'a Path,
    /// What it is connected to.
    pub streams: Streams<'a>,
}

/// The streams and signals of a program.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a> {
    /// Its standard input. More may be read from it than the program reads.
    pub stdin: BorrowedFd<'a>,
    /// Its standard output.
    pub stdout: BorrowedFd<'a>,
    /// Its standard error.
    pub stderr: BorrowedFd<'a>,
    /// Each byte that is read here is the number of a signal for the program.
    pub signals: BorrowedFd<'a>,
}

/// Passes signals on until `over` hangs up.
pub(super) fn forward(signals: BorrowedFd<'_>, over: BorrowedFd<'_>, send: &mut dyn FnMut(Signal)) {
    loop {
        let mut fds = [over, signals].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {
            continue;
        }
        let mut number = [0];
        if fds[0].any().unwrap_or(true) || read(signals, &mut number) != Ok(1) {
            return;
        }
        if let Ok(signal) = Signal::try_from(i32::from(number[0])) {
            send(signal);
        }
    }
}
