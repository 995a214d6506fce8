//! Writes the outcomes as JUnit, with the reason of each skip.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::merge::SCHEDULED;
use super::{Outcome, Record, RunnerError};
use kata_test_host::reason::join;

/// A suite for each binary, a case for each test.
pub(super) fn of(outcomes: &[Record]) -> Result<String, RunnerError> {
    let mut report = Report::new("kata-test");
    for binary in outcomes.chunk_by(|a, b| a.binary == b.binary) {
        let mut suite = TestSuite::new(binary[0].binary.as_str());
        suite.add_test_cases(binary.iter().map(case));
        report.add_test_suite(suite);
    }
    report
        .to_string()
        .map_err(|error| RunnerError::Junit(error.into()))
}

fn case(outcome: &Record) -> TestCase {
    let mut case = TestCase::new(outcome.test.as_str(), status(outcome));
    case.set_classname(outcome.binary.as_str());
    // A duration from a record may be anything that is a number.
    case.set_time(Duration::try_from_secs_f64(outcome.duration_ms / 1000.0).unwrap_or_default());
    for (name, value) in [
        ("place", Some(outcome.place.clone())),
        ("as_uid", Some(outcome.as_uid.to_string())),
        ("attempt", Some(outcome.attempt.to_string())),
        ("issue", outcome.issue.clone()),
        ("reason", outcome.reason.clone()),
    ] {
        if let Some(value) = value {
            case.add_property((name, value.as_str()));
        }
    }
    if let Some(output) = &outcome.output {
        case.set_system_out(output.as_str());
    }
    for (name, value) in &outcome.measures {
        case.add_property((name.as_str(), value.to_string().as_str()));
    }
    case
}

fn status(outcome: &Record) -> TestCaseStatus {
    let mut status = match outcome.outcome {
        Outcome::Passed => return TestCaseStatus::success(),
        Outcome::SuspectedSkip | Outcome::Skipped | Outcome::Ignored | Outcome::Nowhere => {
            TestCaseStatus::skipped()
        }
        Outcome::Failed | Outcome::TimedOut => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Undetermined | Outcome::Lost => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(outcome.outcome.to_string());
    status.set_message(why(outcome));
    status
}

/// Why a test has not passed, as one line.
pub(super) fn why(outcome: &Record) -> String {
    let reasons = join(&outcome.reasons);
    match (&outcome.signal, outcome.outcome) {
        (Some(signal), _) => signal.clone(),
        (None, _) if !reasons.is_empty() => reasons,
        (None, Outcome::SuspectedSkip) => outcome.suspect.clone().unwrap_or_default(),
        (None, Outcome::Ignored) => outcome.reason.clone().unwrap_or_default(),
        (None, Outcome::Lost) if outcome.attempt == SCHEDULED => {
            "scheduled but never started".to_owned()
        }
        (None, Outcome::Lost) => "started but its process disappeared".to_owned(),
        (None, kind) => kind.to_string(),
    }
}
