//! Telling once that every thread of a load has completed an operation.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the threads that have not arrived yet.
pub(crate) struct Running<'a> {
    missing: AtomicUsize,
    tell: &'a (dyn Fn() + Sync),
}

impl<'a> Running<'a> {
    pub(crate) fn new(threads: usize, tell: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            missing: AtomicUsize::new(threads),
            tell,
        }
    }

    /// What one thread arrives by.
    pub(crate) fn arrival(&'a self) -> Arrival<'a> {
        Arrival(Some(self))
    }
}

/// Arrives once: when told to, or else when its thread ends, since nobody shall wait for a thread
/// that failed.
pub(crate) struct Arrival<'a>(Option<&'a Running<'a>>);

impl Arrival<'_> {
    /// Says that the thread has completed an operation. All times but the first do nothing.
    pub(crate) fn arrive(&mut self) {
        if let Some(running) = self.0.take()
            && running.missing.fetch_sub(1, Ordering::AcqRel) == 1
        {
            (running.tell)();
        }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.arrive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thread_tells_once_whether_it_worked_or_ended() {
        let told = AtomicUsize::new(0);
        let tell = || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        let running = Running::new(2, &tell);
        let mut worked = running.arrival();
        worked.arrive();
        worked.arrive();
        drop(worked);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        drop(running.arrival());
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
