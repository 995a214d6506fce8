//! Calls a function once every thread of a load has completed an operation.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the threads that have not arrived yet, and calls the function when there is none left.
pub(crate) struct Running<'a> {
    missing: AtomicUsize,
    call: &'a (dyn Fn() + Sync),
}

impl<'a> Running<'a> {
    pub(crate) fn new(threads: usize, call: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            missing: AtomicUsize::new(threads),
            call,
        }
    }

    /// Returns the arrival of one thread.
    pub(crate) fn arrival(&'a self) -> Arrival<'a> {
        Arrival(Some(self))
    }
}

/// The arrival of one thread. Dropped, it arrives too, so that a thread that failed is not waited for.
pub(crate) struct Arrival<'a>(Option<&'a Running<'a>>);

impl Arrival<'_> {
    /// Counts the thread. Only the first call has an effect.
    pub(crate) fn arrive(&mut self) {
        if let Some(running) = self.0.take()
            && running.missing.fetch_sub(1, Ordering::AcqRel) == 1
        {
            (running.call)();
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
    fn the_last_arrival_calls_once_whether_its_thread_worked_or_ended() {
        let calls = AtomicUsize::new(0);
        let call = || {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        let running = Running::new(2, &call);
        let mut worked = running.arrival();
        worked.arrive();
        worked.arrive();
        drop(worked);
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        drop(running.arrival());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
