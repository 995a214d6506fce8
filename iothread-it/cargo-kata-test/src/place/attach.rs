//! Connects a program in a guest to streams and signals of this process. If its standard streams are a terminal, the
//! program has one in the guest.
//!
//! Nothing is buffered without bound. Standard input is read in pieces, and the next one only after the
//! guest's pipe has taken the last; output that nobody reads here fills the channel, and then the pipe of
//! the program.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;

use kata_test_runner::{Streams, is_readable_before};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use signal_hook::consts::SIGWINCH;

use super::guest::GuestError;
use super::terminal::{self, RawMode};
use guest_vm::guest::protocol::{Exit, Notice, Program, Stream};
use guest_vm::guest::{Agent, RunningProgram};

/// The size of a piece of standard input: half of what a pipe takes at once.
const PIECE: usize = 32 << 10;

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started, or the guest fails.
pub(super) fn attach(
    agent: &Agent,
    program: &Program,
    streams: &Streams<'_>,
) -> Result<Exit, GuestError> {
    let failed = |source| GuestError::Io {
        path: Path::new("the standard streams").into(),
        source,
    };
    let mut program = program.clone();
    program.attached = true;
    program.terminal = terminal::size_of(streams);
    let (over, end) = io::pipe().map_err(failed)?;
    let mut stdout = Output::new(streams.stdout).map_err(failed)?;
    let mut stderr = Output::new(streams.stderr).map_err(failed)?;
    let running = &agent.start(&program)?;
    let over = over.as_fd();
    let has_terminal = program.terminal.is_some();
    let (mut has_started, mut raw_mode) = (false, None);
    let ended = thread::scope(|scope| {
        let ended = running.follow(&mut |notice| {
            match notice {
                // A guest that sends it again is not heard.
                Notice::Started if !has_started => {
                    has_started = true;
                    // Until now, Ctrl-C ends this process.
                    raw_mode = has_terminal.then(|| RawMode::enter(streams.stdin).ok());
                    scope.spawn(|| forward_input(running, streams.stdin, over));
                    scope.spawn(move || forward_signals(running, streams, has_terminal, over));
                }
                Notice::Output { stream, bytes } => {
                    let output = match stream {
                        Stream::Stdout => &mut stdout,
                        Stream::Stderr => &mut stderr,
                    };
                    if !output.write(&bytes.0) {
                        // The answer comes through the channel that this thread reads.
                        scope.spawn(move || running.close_output(stream));
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        // Ends the threads.
        drop(end);
        ended
    });
    drop(raw_mode);
    Ok(ended?)
}

/// An output stream of this process.
struct Output {
    file: File,
    is_closed: bool,
}

impl Output {
    fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            file: fd.try_clone_to_owned()?.into(),
            is_closed: false,
        })
    }

    /// Writes all bytes. Returns `false` at the first error: nobody reads it any more. From then on bytes
    /// are dropped.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.is_closed {
            match self.file.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process may have made the terminal or pipe non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::NONE);
                }
                Err(_) => {
                    self.is_closed = true;
                    return false;
                }
            }
        }
        true
    }
}

/// Waits until something can be read, which is returned; `None` once `over` hangs up.
fn next<'a>(
    from: BorrowedFd<'_>,
    over: BorrowedFd<'_>,
    buffer: &'a mut [u8],
) -> Option<Result<&'a [u8], Errno>> {
    while is_readable_before(from, over) {
        match read(from, buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            result => return Some(result.map(|count| &buffer[..count])),
        }
    }
    None
}

fn forward_input(running: &RunningProgram<'_>, stdin: BorrowedFd<'_>, over: BorrowedFd<'_>) {
    let mut buffer = vec![0; PIECE];
    while let Some(piece) = next(stdin, over, &mut buffer) {
        // What cannot be read has ended.
        let piece = piece.unwrap_or_default();
        // An error is that of the whole guest, which the program's end reports.
        if !running.input(piece).unwrap_or(false) || piece.is_empty() {
            return;
        }
    }
}

fn forward_signals(
    running: &RunningProgram<'_>,
    streams: &Streams<'_>,
    has_terminal: bool,
    over: BorrowedFd<'_>,
) {
    let mut number = [0];
    while let Some(Ok(&[number])) = next(streams.signals, over, &mut number) {
        let sent = match i32::from(number) {
            SIGWINCH if !has_terminal => continue,
            SIGWINCH => running.resize(terminal::size(streams.stdin)),
            number => running.signal(number),
        };
        if sent.is_err() {
            return;
        }
    }
}
