//! The outcome of a test from its process.

use std::collections::BTreeMap;

use super::printed::Printed;
use super::suspect::{SuspectPattern, lack_of_permission};
use crate::{Outcome, ProcessEnd, Record};
use kata_test_host::reason::{Reason, join};

/// What a process shows about its test.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlainResult {
    pub(super) outcome: Outcome,
    pub(super) reasons: Vec<Reason>,
    pub(super) signal: Option<String>,
    /// The line that says that the test skips.
    pub(super) suspect: Option<String>,
    /// The line that names a failure for lack of permission.
    pub(super) lacks: Option<String>,
    /// Why it may lack KVM.
    pub(super) lacks_kvm: Option<String>,
    /// What was measured, if the test has printed its record.
    pub(super) measures: BTreeMap<String, f64>,
    pub(super) issue: Option<String>,
    /// Why the test fails, or has its constraints.
    pub(super) reason: Option<String>,
}

impl PlainResult {
    /// Whether it is a failure of a test that lacks nothing.
    pub(super) fn is_unexplained_failure(&self) -> bool {
        self.outcome.is_failure() && self.lacks.is_none() && self.lacks_kvm.is_none()
    }

    pub(super) fn of(outcome: Outcome, reasons: Vec<Reason>) -> Self {
        Self {
            outcome,
            reasons,
            signal: None,
            suspect: None,
            lacks: None,
            lacks_kvm: None,
            measures: BTreeMap::new(),
            issue: None,
            reason: None,
        }
    }

    /// The process could not be started, or the place ended with it.
    pub(super) fn infrastructure(why: impl Into<String>, place: &str) -> Self {
        let reason = Reason::infrastructure(why, place);
        Self::of(Outcome::Failed, vec![reason])
    }

    /// As the test has recorded it.
    fn own(own: Record) -> Self {
        let is_suspected = own.outcome == Outcome::SuspectedSkip;
        Self {
            suspect: is_suspected.then(|| join(&own.reasons)),
            signal: own.signal,
            measures: own.measures,
            issue: own.issue,
            reason: own.reason,
            ..Self::of(own.outcome, own.reasons)
        }
    }

    fn suspected(line: impl Into<String>) -> Self {
        Self {
            suspect: Some(line.into()),
            ..Self::of(Outcome::SuspectedSkip, Vec::new())
        }
    }
}

/// Returns the result of a test's process; `None` if the run was stopped.
pub(super) fn result(
    end: &ProcessEnd,
    text: &str,
    printed: Printed,
    test: &str,
    pattern: &SuspectPattern,
    place: &str,
) -> Option<PlainResult> {
    let own = printed.record();
    Some(match (end, own) {
        (ProcessEnd::Stopped, _) => return None,
        (ProcessEnd::TimedOut(_), _) => PlainResult::of(Outcome::TimedOut, Vec::new()),
        (ProcessEnd::Crashed(why), _) => PlainResult::infrastructure(why, place),
        // A process may still fail after its test has passed, or skipped.
        (ProcessEnd::Exited(0), Some(own)) if has_passed(text) => PlainResult::own(own),
        (_, Some(own)) if own.outcome.is_failure() => PlainResult::own(own),
        (ProcessEnd::Exited(0), _) => passed(text, test, pattern),
        (ProcessEnd::Exited(_) | ProcessEnd::Signaled(_), _) => PlainResult {
            signal: end.signal(),
            lacks: lack_of_permission(text).map(str::to_owned),
            ..PlainResult::of(Outcome::Failed, Vec::new())
        },
    })
}

fn has_passed(text: &str) -> bool {
    Counts::of(text).is_some_and(|counts| counts.passed > 0)
}

/// The process has exited with success. That alone shows nothing: a test may call `exit(0)`, and a
/// harness may have run no test.
fn passed(text: &str, test: &str, pattern: &SuspectPattern) -> PlainResult {
    if let Some(line) = pattern.find(test, text) {
        return PlainResult::suspected(line);
    }
    match Counts::of(text) {
        Some(counts) if counts.passed > 0 => PlainResult::of(Outcome::Passed, Vec::new()),
        Some(counts) if counts.ignored > 0 => PlainResult::suspected(
            ignored_line(text).unwrap_or("its harness reports it as ignored"),
        ),
        Some(_) => PlainResult::infrastructure("its harness did not run it", "output"),
        None => PlainResult::suspected("exited with status 0 before its harness reported a result"),
    }
}

/// The counts of libtest's last line.
struct Counts {
    passed: u32,
    ignored: u32,
}

impl Counts {
    fn of(text: &str) -> Option<Self> {
        let (_, line) = text.rsplit_once("test result: ")?;
        let line = line.lines().next()?;
        let count = |word: &str| {
            let before = line.split_once(&format!(" {word};"))?.0;
            before.rsplit(' ').next()?.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            ignored: count("ignored")?,
        })
    }
}

/// A test that ends itself as ignored, as libtest-mimic offers.
fn ignored_line(text: &str) -> Option<&str> {
    let is_ignored = |line: &&str| line.starts_with("test ") && line.contains(" ... ignored");
    text.lines().find(is_ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 \
                      ignored; 0 measured; 2 filtered out; finished in 0.00s\n\n";

    fn of(end: &ProcessEnd, text: &str) -> PlainResult {
        result(
            end,
            text,
            Printed::default(),
            "a",
            &SuspectPattern::default(),
            "here",
        )
        .expect("a result")
    }

    #[test]
    fn a_test_has_passed_only_if_its_harness_reports_that_it_ran() {
        let exited = ProcessEnd::Exited(0);
        assert_eq!(
            of(&exited, OK),
            PlainResult::of(Outcome::Passed, Vec::new())
        );
        let none = OK.replace("1 passed", "0 passed");
        assert_eq!(of(&exited, &none).outcome, Outcome::Failed);
        let ignored = none
            .replace("0 ignored", "1 ignored")
            .replace("test a ... ok", "test a ... ignored (no KVM)");
        let found = of(&exited, &ignored);
        assert_eq!(found.outcome, Outcome::SuspectedSkip);
        assert_eq!(
            found.suspect.as_deref(),
            Some("test a ... ignored (no KVM)")
        );
        assert_eq!(of(&exited, "").outcome, Outcome::SuspectedSkip);
        let says = format!("skipping: not root\n{OK}");
        let suspect = of(&exited, &says).suspect;
        assert_eq!(suspect.as_deref(), Some("skipping: not root"));
    }

    #[test]
    fn failures_have_their_cause() {
        let denied = of(
            &ProcessEnd::Exited(101),
            "x: Permission denied (os error 13)",
        );
        assert_eq!(denied.outcome, Outcome::Failed);
        assert!(denied.lacks.is_some());
        let killed = of(&ProcessEnd::Signaled(11), OK);
        assert_eq!(killed.signal.as_deref(), Some("SIGSEGV"));
        assert_eq!(of(&ProcessEnd::Exited(101), OK).outcome, Outcome::Failed);
    }
}
