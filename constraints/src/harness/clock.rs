//! The clock of a running test: when it is announced as slow, gets SIGTERM, SIGKILL, or is given up.

use std::time::{Duration, Instant};

use super::stop::{Cause, Fate};
use crate::runner_env::scaled;

/// When libtest announces a test that is still running.
const SLOW_AFTER: Duration = Duration::from_secs(60);

/// How long a test may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How long a killed process may take to end. One that hangs in the kernel is given up.
const DYING: Duration = Duration::from_secs(10);

/// The same after a second signal.
pub(super) const DYING_AT_ONCE: Duration = Duration::from_millis(100);

/// The variables that change the first two.
const SLOW_AFTER_VARIABLE: &str = "KATA_TEST_SLOW_AFTER";
const GRACE_VARIABLE: &str = "KATA_TEST_GRACE";

/// The times that all tests share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Periods {
    pub(super) slow_after: Duration,
    pub(super) grace: Duration,
}

impl Periods {
    /// The defaults, or the values of the environment.
    pub(super) fn here() -> Result<Self, String> {
        Ok(Self {
            slow_after: slow_after()?,
            grace: period(GRACE_VARIABLE, GRACE)?,
        })
    }
}

/// After how long a test that still runs, or waits, is announced.
pub(super) fn slow_after() -> Result<Duration, String> {
    period(SLOW_AFTER_VARIABLE, SLOW_AFTER)
}

fn period(variable: &str, usual: Duration) -> Result<Duration, String> {
    let Some(text) = std::env::var_os(variable) else {
        return Ok(scaled(usual));
    };
    let duration = text.to_str().and_then(crate::metadata::parse_duration);
    duration.map(scaled).ok_or_else(|| {
        format!("{variable} must be a duration such as 500ms, 2s or 1m (was {text:?})")
    })
}

/// The times of one running test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    grace: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Running {
        notice: Option<Instant>,
        /// When SIGTERM is due, and why.
        end: Option<(Instant, Cause)>,
    },
    /// SIGTERM has been sent.
    Terminated {
        cause: Cause,
        kill: Instant,
        /// The grace period was cut short.
        at_once: bool,
    },
    /// SIGKILL has been sent.
    Killed {
        cause: Cause,
        give_up: Instant,
        at_once: bool,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Say that it is slow.
    Notice,
    /// Send SIGTERM.
    Terminate,
    /// Send SIGKILL.
    Kill,
    /// Killing it had no effect.
    GiveUp,
}

impl Clock {
    pub(super) fn start(now: Instant, periods: Periods, timeout: Option<Duration>) -> Self {
        let Periods { slow_after, grace } = periods;
        let notice = now.checked_add(slow_after);
        Self {
            grace,
            state: State::Running {
                // A test that is about to time out needs no notice.
                notice: notice.filter(|_| timeout.is_none_or(|timeout| timeout > slow_after)),
                end: timeout
                    .and_then(|timeout| now.checked_add(timeout))
                    .map(|at| (at, Cause::Timeout)),
            },
        }
    }

    /// Returns what is due, each thing once.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let passed = |at: Instant| at <= now;
        match &mut self.state {
            State::Running {
                end: Some((at, cause)),
                ..
            } if passed(*at) => {
                self.state = State::Terminated {
                    cause: *cause,
                    kill: later(now, self.grace),
                    at_once: false,
                };
                Due::Terminate
            }
            State::Running { notice, .. } if notice.is_some_and(passed) => {
                *notice = None;
                Due::Notice
            }
            State::Terminated {
                cause,
                kill,
                at_once,
            } if passed(*kill) => {
                let dying = if *at_once { DYING_AT_ONCE } else { DYING };
                self.state = State::Killed {
                    cause: *cause,
                    give_up: now + dying,
                    at_once: *at_once,
                };
                Due::Kill
            }
            State::Killed { give_up, .. } if passed(*give_up) => Due::GiveUp,
            _ => Due::Nothing,
        }
    }

    /// When something will be due.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Running { notice, end } => notice.into_iter().chain(end.map(|(at, _)| at)).min(),
            State::Terminated { kill, .. } => Some(kill),
            State::Killed { give_up, .. } => Some(give_up),
        }
    }

    /// Makes SIGTERM due, unless it has been sent.
    pub(super) fn end(&mut self, now: Instant, cause: Cause) {
        if let State::Running { end, .. } = &mut self.state {
            *end = Some((now, cause));
        }
    }

    /// Cuts short the waits for a test that is to end.
    pub(super) fn hurry(&mut self, now: Instant) {
        match &mut self.state {
            State::Running { end: None, .. } => {}
            State::Running {
                end: Some((_, cause)),
                ..
            }
            | State::Terminated { cause, .. } => {
                self.state = State::Terminated {
                    cause: *cause,
                    kill: now,
                    at_once: true,
                };
            }
            State::Killed { give_up, .. } => *give_up = (now + DYING_AT_ONCE).min(*give_up),
        }
    }

    /// Excludes a time during which the test was suspended.
    pub(super) fn pause(&mut self, paused: Duration) {
        match &mut self.state {
            State::Running { notice, end } => {
                for at in notice.iter_mut().chain(end.iter_mut().map(|(at, _)| at)) {
                    *at = later(*at, paused);
                }
            }
            State::Terminated { kill: at, .. } | State::Killed { give_up: at, .. } => {
                *at = later(*at, paused);
            }
        }
    }

    /// Until when processes of an ended test may end by themselves, if not for the usual time.
    pub(super) fn linger(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Running { .. } => None,
            State::Terminated { kill, .. } => Some(kill),
            State::Killed { .. } => Some(now),
        }
    }

    /// Why and how the harness ended the test, if it did.
    pub(super) fn ended(&self) -> Option<(Cause, Fate)> {
        match self.state {
            State::Running { .. } => None,
            State::Terminated { cause, .. } => Some((cause, Fate::Terminated)),
            State::Killed { cause, at_once, .. } => {
                Some((cause, Fate::Killed((!at_once).then_some(self.grace))))
            }
        }
    }
}

/// Adds to a time; a sum that no clock has becomes a year.
pub(super) fn later(at: Instant, by: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    at.checked_add(by).unwrap_or(at + YEAR)
}

#[cfg(test)]
mod tests {
    //! Scope: the order of events, on made-up times.

    use nix::sys::signal::Signal;

    use super::*;
    use crate::harness::interrupt::Interrupt;

    const SECOND: Duration = Duration::from_secs(1);
    const PERIODS: Periods = Periods {
        slow_after: SLOW_AFTER,
        grace: GRACE,
    };

    #[test]
    fn without_a_timeout_there_is_one_notice_and_no_end() {
        let start = Instant::now();
        let mut clock = Clock::start(start, PERIODS, None);
        assert_eq!(clock.due(start + 59 * SECOND), Due::Nothing);
        assert_eq!(clock.next(), Some(start + 60 * SECOND));
        assert_eq!(clock.due(start + 60 * SECOND), Due::Notice);
        assert_eq!(
            (clock.due(start + 6000 * SECOND), clock.next()),
            (Due::Nothing, None)
        );
    }

    #[test]
    fn a_timeout_terminates_then_kills_and_then_gives_up() {
        let start = Instant::now();
        let mut clock = Clock::start(start, PERIODS, Some(90 * SECOND));
        assert_eq!(clock.due(start + 60 * SECOND), Due::Notice);
        assert_eq!(clock.next(), Some(start + 90 * SECOND));
        assert_eq!(clock.due(start + 91 * SECOND), Due::Terminate);
        assert_eq!(clock.ended(), Some((Cause::Timeout, Fate::Terminated)));
        assert_eq!(clock.due(start + 92 * SECOND), Due::Nothing);
        assert_eq!(clock.due(start + 93 * SECOND), Due::Kill);
        let killed = Fate::Killed(Some(GRACE));
        assert_eq!(clock.ended(), Some((Cause::Timeout, killed)));
        assert_eq!(clock.due(start + 102 * SECOND), Due::Nothing);
        assert_eq!(clock.due(start + 103 * SECOND), Due::GiveUp);
    }

    #[test]
    fn a_short_timeout_needs_no_notice() {
        let start = Instant::now();
        let mut clock = Clock::start(start, PERIODS, Some(SECOND));
        assert_eq!(clock.due(start + 70 * SECOND), Due::Terminate);
    }

    #[test]
    fn a_second_signal_cuts_all_waits_short() {
        let start = Instant::now();
        let mut clock = Clock::start(start, PERIODS, None);
        let cause = Cause::Interrupt(Interrupt::by(Signal::SIGINT).expect("a stop"));
        clock.end(start, cause);
        assert_eq!(clock.due(start), Due::Terminate);
        clock.hurry(start);
        assert_eq!(clock.due(start), Due::Kill);
        assert_eq!(clock.ended(), Some((cause, Fate::Killed(None))));
        clock.hurry(start);
        assert_eq!(clock.due(start), Due::Nothing);
        assert_eq!(clock.due(start + DYING_AT_ONCE), Due::GiveUp);
    }

    #[test]
    fn a_pause_does_not_count() {
        let start = Instant::now();
        let mut clock = Clock::start(start, PERIODS, Some(SECOND));
        clock.pause(10 * SECOND);
        assert_eq!(clock.due(start + 10 * SECOND), Due::Nothing);
        assert_eq!(clock.due(start + 11 * SECOND), Due::Terminate);
        clock.pause(10 * SECOND);
        assert_eq!(clock.due(start + 22 * SECOND), Due::Nothing);
        assert_eq!(clock.due(start + 23 * SECOND), Due::Kill);
    }
}
