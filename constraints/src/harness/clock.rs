//! When something is due about a running test: the notice that it is slow, its end, giving up.

use std::time::{Duration, Instant};

use crate::elsewhere::scaled;

/// When libtest speaks of a test that is still running.
const SLOW_AFTER: Duration = Duration::from_secs(60);

/// How long a killed process may take to end: one that hangs inside the kernel is given up.
const DYING: Duration = Duration::from_secs(10);

/// The variable that moves the notice.
const SLOW_AFTER_VARIABLE: &str = "KATA_TEST_SLOW_AFTER";

/// The times that matter to one running test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Running {
        notice: Option<Instant>,
        kill: Option<Instant>,
    },
    Killed {
        give_up: Instant,
    },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Say that it is slow.
    Notice,
    /// Its time is up.
    Kill,
    /// Killing it had no effect.
    GiveUp,
}

impl Clock {
    pub(super) fn start(now: Instant, slow_after: Duration, timeout: Option<Duration>) -> Self {
        let notice = now.checked_add(slow_after);
        Self {
            state: State::Running {
                // What is about to be killed needs no notice.
                notice: notice.filter(|_| timeout.is_none_or(|timeout| timeout > slow_after)),
                kill: timeout.and_then(|timeout| now.checked_add(timeout)),
            },
        }
    }

    /// Says what is due, each thing once.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let passed = |at: Instant| at <= now;
        match &mut self.state {
            State::Running { kill: Some(at), .. } if passed(*at) => {
                self.state = State::Killed {
                    give_up: now + DYING,
                };
                Due::Kill
            }
            State::Running { notice, .. } if notice.is_some_and(passed) => {
                *notice = None;
                Due::Notice
            }
            State::Killed { give_up } if passed(*give_up) => Due::GiveUp,
            _ => Due::Nothing,
        }
    }

    /// When something will be due.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Running { notice, kill } => notice.into_iter().chain(kill).min(),
            State::Killed { give_up } => Some(give_up),
        }
    }

    pub(super) fn was_killed(&self) -> bool {
        matches!(self.state, State::Killed { .. })
    }
}

/// After how long a test is spoken of: a minute, or what the environment says.
pub(super) fn slow_after() -> Duration {
    let named = std::env::var(SLOW_AFTER_VARIABLE).ok();
    let named = named.and_then(|text| crate::metadata::parse_duration(&text));
    scaled(named.unwrap_or(SLOW_AFTER))
}

#[cfg(test)]
mod tests {
    //! Scope: the order of what is due, on made-up times.

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_timeout_there_is_one_notice_and_no_end() {
        let start = Instant::now();
        let mut clock = Clock::start(start, 60 * SECOND, None);
        assert_eq!(clock.due(start + 59 * SECOND), Due::Nothing);
        assert_eq!(clock.next(), Some(start + 60 * SECOND));
        assert_eq!(clock.due(start + 60 * SECOND), Due::Notice);
        assert_eq!(
            (clock.due(start + 6000 * SECOND), clock.next()),
            (Due::Nothing, None)
        );
    }

    #[test]
    fn a_timeout_kills_once_and_then_gives_up() {
        let start = Instant::now();
        let mut clock = Clock::start(start, 60 * SECOND, Some(90 * SECOND));
        assert_eq!(clock.due(start + 60 * SECOND), Due::Notice);
        assert_eq!(clock.next(), Some(start + 90 * SECOND));
        assert_eq!(clock.due(start + 91 * SECOND), Due::Kill);
        assert!(clock.was_killed());
        assert_eq!(clock.due(start + 92 * SECOND), Due::Nothing);
        assert_eq!(clock.due(start + 101 * SECOND), Due::GiveUp);
    }

    #[test]
    fn a_short_timeout_needs_no_notice() {
        let start = Instant::now();
        let mut clock = Clock::start(start, 60 * SECOND, Some(SECOND));
        assert_eq!(clock.due(start + 70 * SECOND), Due::Kill);
    }
}
