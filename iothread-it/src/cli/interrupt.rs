//! Ctrl-C while a test binary runs: the binary ends its tests and says what it has, and then we
//! say what we have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::unregister;

/// The exit code of a command that was interrupted, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Keeps this process alive at Ctrl-C until its child has ended, and tells whether there was one.
pub struct Interrupts {
    seen: Arc<AtomicBool>,
    handlers: Vec<signal_hook::SigId>,
}

impl Interrupts {
    /// Starts to look out.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub fn watch() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        let handlers = [SIGINT, SIGTERM]
            .into_iter()
            .map(|signal| flag::register(signal, Arc::clone(&seen)))
            .collect::<std::io::Result<_>>()?;
        Ok(Self { seen, handlers })
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
