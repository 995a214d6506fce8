//! The terminal of this process, while a program in a guest has it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use guest_vm::guest::protocol::TerminalSize;
use kata_test_runner::Streams;
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

/// Returns the size of the terminal that a program's standard streams are, if this process is in its foreground.
pub(super) fn size_of(streams: &Streams<'_>) -> Option<TerminalSize> {
    let all = [streams.stdin, streams.stdout, streams.stderr];
    let is_foreground = tcgetpgrp(streams.stdin).is_ok_and(|group| group == getpgrp());
    (is_foreground && all.into_iter().all(isatty)).then(|| size(streams.stdin))
}

/// Returns the size of a terminal.
pub(super) fn size(terminal: BorrowedFd<'_>) -> TerminalSize {
    let size = tcgetwinsize(terminal);
    let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
    TerminalSize { rows, columns }
}

/// A terminal that passes on each byte as it is typed, until this is dropped. The guest's terminal handles lines
/// and control characters.
pub(super) struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    pub(super) fn enter(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self {
            terminal: terminal.try_clone_to_owned()?,
            before,
        })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}
