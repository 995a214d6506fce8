//! Waiting: every wait has a deadline, and is woken by what it waits for.

#[cfg(feature = "client")]
mod watched;

use std::fmt;
use std::time::{Duration, Instant};

#[cfg(feature = "client")]
pub use watched::Watched;

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
        Self::starting(Instant::now(), span)
    }

    /// Grants a span from a moment on, which need not be now.
    pub fn starting(at: Instant, span: Duration) -> Self {
        Self {
            at: at.checked_add(span),
            span,
        }
    }

    /// Returns the moment at which it passes. `None`: never.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Returns whether it has passed by a moment.
    pub fn has_passed_at(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unrepresentable_deadline_does_not_panic() {
        let never = Deadline::after(Duration::MAX);
        assert!(!never.has_passed());
        assert_eq!(never.span(), Duration::MAX);
        let soon = never.capped_at(Duration::ZERO);
        assert!(soon.has_passed());
        assert!(soon.capped_at(Duration::MAX).has_passed());
    }
}
