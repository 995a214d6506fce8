//! Makes signals pollable: a handler writes each signal's number to a pipe.
//!
//! So one poll(2) waits for output, for the end of any child (SIGCHLD), and for Ctrl-C. A pidfd would
//! not work on old kernels.
#![expect(unsafe_code, reason = "sigaction(2) has no safe form")]

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::getpid;

use super::{pipe, set_nonblocking};

const HANDLED: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGTSTP,
];

static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The process whose pipe it is.
static OWNER: AtomicI32 = AtomicI32::new(-1);

/// The signals with this handler, as bits.
static INSTALLED: AtomicU8 = AtomicU8::new(0);

/// The signals of this process.
pub(crate) struct Signals {
    read: std::fs::File,
    _write: OwnedFd,
}

impl Signals {
    /// Installs the handlers. A signal that this process was started to ignore stays ignored, so
    /// that nohup(1) works.
    pub(crate) fn install() -> Result<Self, Errno> {
        let (read, write) = pipe()?;
        for end in [&read, &write] {
            set_nonblocking(end)?;
        }
        PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
        OWNER.store(getpid().as_raw(), Ordering::Relaxed);
        let action = noting();
        let mut installed = 0;
        for (index, signal) in HANDLED.into_iter().enumerate() {
            // SAFETY: the handler calls write(2) only and restores errno.
            let old = unsafe { sigaction(signal, &action) }?;
            if signal != Signal::SIGCHLD && matches!(old.handler(), SigHandler::SigIgn) {
                // SAFETY: this puts back what was there.
                unsafe { sigaction(signal, &old) }?;
            } else {
                installed |= 1 << index;
            }
        }
        INSTALLED.store(installed, Ordering::Relaxed);
        Ok(Self {
            read: read.into(),
            _write: write,
        })
    }

    /// Stops this process as SIGTSTP does without a handler, and returns when it continues.
    pub(crate) fn stop(&self) {
        set_default(Signal::SIGTSTP);
        let _ = raise(Signal::SIGTSTP);
        // SAFETY: as where the handlers were installed.
        let _ = unsafe { sigaction(Signal::SIGTSTP, &noting()) };
    }

    /// The descriptor to poll.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Reads the signals that have arrived.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        let mut taken = Vec::new();
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = self.read.read(&mut bytes) {
            for byte in &bytes[..count] {
                taken.extend(Signal::try_from(i32::from(*byte)));
            }
            if count < bytes.len() {
                break;
            }
        }
        taken
    }
}

/// The action that writes a signal to the pipe.
fn noting() -> SigAction {
    let handler = SigHandler::Handler(note);
    SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty())
}

/// Restores the default actions in a forked child.
pub(crate) fn default_signals() {
    let installed = INSTALLED.load(Ordering::Relaxed);
    for (index, signal) in HANDLED.into_iter().enumerate() {
        if installed >> index & 1 == 1 {
            set_default(signal);
        }
    }
    PIPE.store(-1, Ordering::Relaxed);
}

/// Removes the handler of a signal.
pub(super) fn set_default(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours.
    let _ = unsafe { sigaction(signal, &default) };
}

extern "C" fn note(signal: i32) {
    let errno = Errno::last_raw();
    if getpid().as_raw() == OWNER.load(Ordering::Relaxed) {
        let byte = [signal.to_le_bytes()[0]];
        // A full pipe loses nothing: the reader checks every child anyway.
        // SAFETY: write(2) may be called from a handler, and the byte lives on this stack.
        unsafe { nix::libc::write(PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
    } else if let Ok(signal) = Signal::try_from(signal) {
        // A child that was just forked: the pipe is its parent's. The signal comes again after this handler.
        set_default(signal);
        let _ = raise(signal);
    }
    Errno::set_raw(errno);
}

#[cfg(test)]
mod tests {
    //! Scope: a child that has these handlers still. The others are tested by the harness's own signals.

    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;
    use crate::sys::fork;

    #[test]
    fn a_signal_to_a_child_that_was_just_forked_is_the_childs() {
        let mut signals = Signals::install().expect("handlers");
        // SAFETY: raise(3) may be called where another thread holds locks.
        let child = unsafe { fork(|_| _ = raise(Signal::SIGTERM)) }.expect("a child");
        let end = waitpid(child, None).expect("an end");
        let taken = signals.take();
        default_signals();
        assert_eq!(end, WaitStatus::Signaled(child, Signal::SIGTERM, false));
        assert!(!taken.contains(&Signal::SIGTERM), "{taken:?}");
    }
}
