//! A program in a place that has the streams and signals of its caller, as if it ran here.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::read;

use super::ProcessEnd;

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

/// Waits for a child, and passes signals on until it has ended.
pub(super) fn wait(
    mut child: Child,
    signals: BorrowedFd<'_>,
    send: &mut (dyn FnMut(Signal) + Send),
) -> io::Result<ProcessEnd> {
    let (over, end) = io::pipe()?;
    let status = thread::scope(|scope| {
        scope.spawn(move || forward(signals, over.as_fd(), send));
        let status = child.wait();
        // Ends the thread.
        drop(end);
        status
    })?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => ProcessEnd::Exited(code),
        (None, Some(signal)) => ProcessEnd::Signaled(signal),
        (None, None) => ProcessEnd::Crashed(format!("it ended: {status}")),
    })
}

/// Waits until something can be read; `false` once `over` hangs up.
#[must_use]
pub fn is_readable_before(from: BorrowedFd<'_>, over: BorrowedFd<'_>) -> bool {
    let mut fds = [over, from].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    !fds[0].any().unwrap_or(true)
}

/// Passes signals on until `over` hangs up.
fn forward(signals: BorrowedFd<'_>, over: BorrowedFd<'_>, send: &mut dyn FnMut(Signal)) {
    let mut number = [0];
    while is_readable_before(signals, over) && read(signals, &mut number) == Ok(1) {
        if let Ok(signal) = Signal::try_from(i32::from(number[0])) {
            send(signal);
        }
    }
}
