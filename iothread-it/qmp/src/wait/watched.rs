//! State shared between threads, to wait on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Deadline;

/// State that one thread changes and others wait on.
#[derive(Debug, Default)]
pub struct Watched<S> {
    state: Mutex<S>,
    changed: Condvar,
}

impl<S> Watched<S> {
    /// Starts with this state.
    pub fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Changes or reads the state, and wakes all who wait on it.
    pub fn with<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` finds what it looks for, or returns `None` at the deadline.
    pub fn wait<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&mut S) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let remaining = deadline.remaining();
            if remaining.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, remaining)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// A panic in `look` or `change` leaves the state as it was at that point. Each of ours
    /// changes it in one step, so it stays usable.
    fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_wakes_the_waiter() {
        let board = Arc::new(Watched::new(0));
        let waiter = Arc::clone(&board);
        let thread = std::thread::spawn(move || {
            waiter.wait(Deadline::after(Duration::from_secs(30)), |n| {
                (*n == 3).then_some(*n)
            })
        });
        for n in 1..=3 {
            board.with(|state| *state = n);
        }
        assert_eq!(thread.join().unwrap(), Some(3));
    }

    #[test]
    fn expired_deadline_still_checks_once() {
        let board = Watched::new(7);
        let passed = Deadline::after(Duration::ZERO);
        assert_eq!(board.wait(passed, |n| Some(*n)), Some(7));
        assert_eq!(board.wait(passed, |_| None::<()>), None);
    }

    #[test]
    fn wait_without_an_end_does_not_panic() {
        let never = Deadline::after(Duration::MAX);
        let board = Arc::new(Watched::new(0));
        let waiter = Arc::clone(&board);
        let thread = std::thread::spawn(move || waiter.wait(never, |n| (*n == 1).then_some(*n)));
        board.with(|state| *state = 1);
        assert_eq!(thread.join().unwrap(), Some(1));
    }
}
