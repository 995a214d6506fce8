//! SIGINT and SIGTERM: the first one ends the running tests, and the command still prints its results;
//! the second one ends the process.

use std::io::PipeReader;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit_codes::INTERRUPTED;
use anyhow::Result;
use kata_test_runner::StopToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

/// A handler of SIGINT and SIGTERM.
pub struct Interrupts {
    seen: Arc<AtomicBool>,
    /// Gets a byte with each signal.
    pipe: PipeReader,
    handlers: Vec<signal_hook::SigId>,
}

impl Interrupts {
    /// Installs the handler.
    ///
    /// # Errors
    /// If it cannot be installed.
    pub fn watch() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        let (reader, writer) = std::io::pipe()?;
        let mut handlers = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // The second signal ends this process immediately; lifelines end its children.
            let code = i32::from(INTERRUPTED);
            handlers.push(flag::register_conditional_shutdown(
                signal,
                code,
                Arc::clone(&seen),
            )?);
            handlers.push(flag::register(signal, Arc::clone(&seen))?);
            handlers.push(pipe::register(signal, OwnedFd::from(writer.try_clone()?))?);
        }
        Ok(Self {
            seen,
            pipe: reader,
            handlers,
        })
    }

    /// Returns a [`StopToken`] that a signal triggers.
    pub fn stop(&self) -> StopToken<'_> {
        StopToken::when_readable(self.pipe.as_fd())
    }

    /// Says whether a signal was received.
    pub fn received(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}
