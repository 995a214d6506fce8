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
    sent: Sent,
    /// When SIGTERM or SIGKILL is due, or when a killed test is given up.
    step: Option<Instant>,
    /// Why the test has to end, at the latest at `step`.
    cause: Option<Cause>,
    notice: Option<Instant>,
    /// The grace period was cut short.
    at_once: bool,
}

/// What the test has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    Sigterm,
    Sigkill,
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
            sent: Sent::Nothing,
            step: timeout.and_then(|timeout| now.checked_add(timeout)),
            // A test that is about to time out needs no notice.
            notice: notice.filter(|_| timeout.is_none_or(|timeout| timeout > slow_after)),
            cause: timeout.map(|_| Cause::Timeout),
            at_once: false,
        }
    }

    /// Returns what is due, each thing once.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let has_passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !has_passed(self.step) {
            if has_passed(self.notice) {
                self.notice = None;
                return Due::Notice;
            }
            return Due::Nothing;
        }
        self.notice = None;
        match self.sent {
            Sent::Nothing => {
                self.sent = Sent::Sigterm;
                self.step = Some(later(now, self.grace));
                Due::Terminate
            }
            Sent::Sigterm => {
                let dying = if self.at_once { DYING_AT_ONCE } else { DYING };
                self.sent = Sent::Sigkill;
                self.step = Some(now + dying);
                Due::Kill
            }
            Sent::Sigkill => Due::GiveUp,
        }
    }

    /// When something will be due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.notice.into_iter().chain(self.step).min()
    }

    /// Makes SIGTERM due, unless it has been sent.
    pub(super) fn end(&mut self, now: Instant, cause: Cause) {
        if self.sent == Sent::Nothing {
            self.step = Some(now);
            self.cause = Some(cause);
        }
    }

    /// Cuts short the waits for a test that is to end.
    pub(super) fn hurry(&mut self, now: Instant) {
        match self.sent {
            Sent::Nothing if self.step.is_none() => {}
            Sent::Nothing | Sent::Sigterm => {
                self.sent = Sent::Sigterm;
                self.step = Some(now);
                self.notice = None;
                self.at_once = true;
            }
            Sent::Sigkill => self.step = self.step.min(Some(now + DYING_AT_ONCE)),
        }
    }

    /// Excludes a time during which the test was suspended.
    pub(super) fn pause(&mut self, paused: Duration) {
        for at in self.notice.iter_mut().chain(&mut self.step) {
            *at = later(*at, paused);
        }
    }

    /// Until when processes of an ended test may end by themselves, if not for the usual time.
    pub(super) fn linger(&self, now: Instant) -> Option<Instant> {
        match self.sent {
            Sent::Nothing => None,
            Sent::Sigterm => self.step,
            Sent::Sigkill => Some(now),
        }
    }

    /// Why and how the harness ended the test, if it did.
    pub(super) fn ended(&self) -> Option<(Cause, Fate)> {
        let fate = match self.sent {
            Sent::Nothing => return None,
            Sent::Sigterm => Fate::Terminated,
            Sent::Sigkill => Fate::Killed((!self.at_once).then_some(self.grace)),
        };
        Some((self.cause?, fate))
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
