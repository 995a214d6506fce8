//! Ctrl-C while a test binary runs: the binary ends its tests and says what it has, and then we
//! say what we have.

use std::io::PipeReader;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use kata_test_runner::StopToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

/// The exit code of a command that was interrupted, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Keeps this process alive at Ctrl-C until its child has ended, and tells whether there was one.
pub struct Interrupts {
    seen: Arc<AtomicBool>,
    /// Gets a byte with each.
    told: PipeReader,
    handlers: Vec<signal_hook::SigId>,
}

impl Interrupts {
    /// Starts to look out.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub fn watch() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        let (told, tell) = std::io::pipe()?;
        let mut handlers = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // The second one ends this process at once; its processes then end as if it was killed.
            let code = i32::from(EXIT_CODE);
            handlers.push(flag::register_conditional_shutdown(
                signal,
                code,
                Arc::clone(&seen),
            )?);
            handlers.push(flag::register(signal, Arc::clone(&seen))?);
            handlers.push(pipe::register(signal, OwnedFd::from(tell.try_clone()?))?);
        }
        Ok(Self {
            seen,
            told,
            handlers,
        })
    }

    /// Tells a run to stop once there was one.
    pub fn stop(&self) -> StopToken<'_> {
        StopToken::when_readable(self.told.as_fd())
    }

    /// Returns whether there was one.
    pub fn seen(&self) -> bool {
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
