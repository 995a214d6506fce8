//! Waiting: every wait has a deadline, and is woken by what it waits for.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A point in time after which waiting is given up, and the span that was granted.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `None`: later than the clock can count, so never.
    at: Option<Instant>,
    span: Duration,
}

impl Deadline {
    /// Grants a span from now on. [`Duration::MAX`] never ends.
    pub fn after(span: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(span),
            span,
        }
    }

    /// Returns what is left, zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// Returns whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Returns the sooner of this deadline and one after a span from now.
    #[must_use]
    pub fn capped_at(self, span: Duration) -> Self {
        let other = Self::after(span);
        match (other.at, self.at) {
            (Some(theirs), Some(ours)) if ours <= theirs => self,
            (None, _) => self,
            _ => other,
        }
    }

    /// Returns the span that was granted.
    pub fn span(&self) -> Duration {
        self.span
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.span.as_secs_f64())
    }
}

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
    use super::*;
    use std::sync::Arc;

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
    fn unrepresentable_deadline_does_not_panic() {
        let never = Deadline::after(Duration::MAX);
        assert!(!never.has_passed());
        assert_eq!(never.span(), Duration::MAX);
        let soon = never.capped_at(Duration::ZERO);
        assert!(soon.has_passed());
        assert!(soon.capped_at(Duration::MAX).has_passed());
        // The clock takes no such time either.
        let board = Arc::new(Watched::new(0));
        let waiter = Arc::clone(&board);
        let thread = std::thread::spawn(move || waiter.wait(never, |n| (*n == 1).then_some(*n)));
        board.with(|state| *state = 1);
        assert_eq!(thread.join().unwrap(), Some(1));
    }
}
