//! Writes the outcomes as JUnit, with the reason of each skip.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::ledger::Ledger;
use super::merge::SCHEDULED;
use super::{Outcome, Record, RunnerError};
use kata_test_host::reason::join;

/// A suite for each binary, a case for each test. If each test was to run everywhere: a suite for each binary
/// and place, named `BINARY in PLACE`, as readers take two cases of a name for one.
pub(super) fn of(ledger: &Ledger) -> Result<String, RunnerError> {
    let mut report = Report::new("kata-test");
    let mut suites: Vec<(String, Vec<Record>)> = Vec::new();
    for outcome in ledger.outcomes() {
        let name = match ledger.everywhere {
            true => format!("{} in {}", outcome.binary, outcome.place),
            false => outcome.binary.clone(),
        };
        match suites.iter_mut().find(|(known, _)| *known == name) {
            Some((_, outcomes)) => outcomes.push(outcome),
            None => suites.push((name, vec![outcome])),
        }
    }
    for (name, outcomes) in suites {
        let mut suite = TestSuite::new(name.as_str());
        if let [first, ..] = &outcomes[..]
            && let Some(kernel) = kernel(ledger, first)
        {
            suite.add_property(("kernel", kernel));
        }
        suite.add_test_cases(outcomes.iter().map(|outcome| {
            let attempts = ledger.attempts(outcome);
            case(outcome, &name, attempts)
        }));
        report.add_test_suite(suite);
    }
    report
        .to_string()
        .map_err(|error| RunnerError::Junit(error.into()))
}

/// The kernel of a suite that is of one place.
fn kernel<'a>(ledger: &'a Ledger, outcome: &Record) -> Option<&'a str> {
    let mut places = ledger.places.iter().filter(|_| ledger.everywhere);
    let place = places.find(|place| place.name == outcome.place)?;
    place.kernel.as_deref()
}

fn case(outcome: &Record, class: &str, attempts: &[Outcome]) -> TestCase {
    let mut case = TestCase::new(outcome.test.as_str(), status(outcome, attempts));
    case.set_classname(class);
    // A duration from a record may be anything that is a number.
    case.set_time(Duration::try_from_secs_f64(outcome.duration_ms / 1000.0).unwrap_or_default());
    let artifacts = outcome.artifacts.as_ref();
    let folder = artifacts.filter(|one| !one.folder.is_empty());
    let folder = folder.map(|one| one.folder.clone());
    let left_out = artifacts.filter(|one| !one.left_out.is_empty());
    let left_out = left_out.map(|one| one.left_out.join(", "));
    for (name, value) in [
        ("place", Some(outcome.place.clone())),
        ("as_uid", Some(outcome.as_uid.to_string())),
        ("attempt", Some(outcome.attempt.to_string())),
        ("issue", outcome.issue.clone()),
        ("reason", outcome.reason.clone()),
        ("artifacts", folder),
        ("artifacts_left_out", left_out),
    ] {
        if let Some(value) = value {
            case.add_property((name, value.as_str()));
        }
    }
    if let Some(output) = &outcome.output {
        case.set_system_out(output.as_str());
    }
    if !outcome.kernel_messages.is_empty() {
        case.set_system_err(outcome.kernel_messages.join("\n"));
    }
    for (name, value) in &outcome.measures {
        case.add_property((name.as_str(), value.to_string().as_str()));
    }
    case
}

fn status(outcome: &Record, attempts: &[Outcome]) -> TestCaseStatus {
    let mut status = match outcome.outcome {
        Outcome::Passed => return TestCaseStatus::success(),
        Outcome::Flaky => return flaky(attempts),
        // As pytest writes an expected failure: no pass, and no failure of the suite.
        Outcome::ExpectedFailure | Outcome::Unstable => TestCaseStatus::skipped(),
        Outcome::SuspectedSkip | Outcome::Skipped | Outcome::Ignored | Outcome::Nowhere => {
            TestCaseStatus::skipped()
        }
        Outcome::Failed | Outcome::TimedOut | Outcome::UnexpectedPass => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        Outcome::Undetermined | Outcome::Lost => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(outcome.outcome.to_string());
    status.set_message(why(outcome));
    status
}

/// A test that passed at a later attempt, with each that failed as a `<flakyFailure>`.
fn flaky(attempts: &[Outcome]) -> TestCaseStatus {
    let mut status = TestCaseStatus::success();
    let failed = attempts.iter().enumerate();
    let failed = failed.filter(|(_, kind)| kind.is_failure());
    let mut reruns: Vec<(Outcome, String)> = failed
        .map(|(index, kind)| (*kind, format!("{kind} at attempt {}", index + 1)))
        .collect();
    if reruns.is_empty() {
        reruns.push((Outcome::Failed, "failed at an earlier attempt".to_owned()));
    }
    for (kind, message) in reruns {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun.set_type(kind.to_string());
        rerun.set_message(message);
        status.add_rerun(rerun);
    }
    status
}

/// Why a test has not passed, as one line.
pub(super) fn why(outcome: &Record) -> String {
    let reasons = join(&outcome.reasons);
    match (&outcome.signal, outcome.outcome) {
        (Some(signal), _) => signal.clone(),
        (None, _) if !reasons.is_empty() => reasons,
        (None, Outcome::SuspectedSkip) => outcome.suspect.clone().unwrap_or_default(),
        (None, Outcome::ExpectedFailure | Outcome::Unstable) if outcome.reason.is_some() => {
            outcome.reason.clone().unwrap_or_default()
        }
        (None, Outcome::Ignored) => outcome.reason.clone().unwrap_or_default(),
        (None, Outcome::Lost) if outcome.attempt == SCHEDULED => {
            "scheduled but never started".to_owned()
        }
        (None, Outcome::Lost) => "started but its process disappeared".to_owned(),
        (None, kind) => kind.to_string(),
    }
}
