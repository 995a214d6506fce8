//! The checker of constraints, which keeps the results.

use std::fmt;

use super::Constraint;
use kata_test::constraint::Status;
use kata_test::facts::{Here, Host};

/// The result of one constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The requirement and the observation: `need uid == 0, got euid 1000`.
    pub description: String,
    /// Whether it holds.
    pub success: bool,
}

/// Checks constraints and keeps the results.
#[derive(Clone, Debug, Default)]
pub struct TestConstraint {
    debug: bool,
    issue: Option<String>,
    passed: Vec<Checked>,
    failed: Vec<Checked>,
}

impl TestConstraint {
    /// Returns a checker without results. With `debug` it prints each result to standard output. Facts are
    /// observed when a constraint needs them.
    #[must_use]
    pub fn new(debug: bool) -> Self {
        Self {
            debug,
            ..Self::default()
        }
    }

    /// Checks all constraints and returns whether one of them fails. The results replace those of an earlier
    /// call.
    ///
    /// # Panics
    ///
    /// If there is no constraint, or if none fails and one is undetermined: to run or to skip would be a
    /// guess.
    #[track_caller]
    #[must_use = "skip the test if this is true"]
    pub fn not_valid(&mut self, constraints: &[Constraint]) -> bool {
        self.not_valid_on(&Here, constraints)
    }

    #[track_caller]
    pub(super) fn not_valid_on(&mut self, host: &dyn Host, constraints: &[Constraint]) -> bool {
        assert!(!constraints.is_empty(), "need at least one constraint");
        self.passed.clear();
        self.failed.clear();
        self.issue = constraints
            .iter()
            .rev()
            .find_map(Constraint::issue)
            .map(str::to_owned);
        let mut undetermined = Vec::new();
        for constraint in constraints {
            match constraint.check(host) {
                Some((Status::Met, description)) => self.keep(description, true),
                Some((Status::Unmet, description)) => self.keep(description, false),
                Some((Status::Undetermined, description)) => undetermined.push(description),
                None => {}
            }
        }
        assert!(
            undetermined.is_empty() || !self.failed.is_empty(),
            "cannot tell whether these hold: {}{}",
            undetermined.join("; "),
            self.issue_suffix()
        );
        !self.failed.is_empty()
    }

    fn keep(&mut self, description: String, success: bool) {
        if self.debug {
            let outcome = if success { "valid" } else { "invalid" };
            println!("Constraint {outcome}: {description}");
        }
        let list = if success {
            &mut self.passed
        } else {
            &mut self.failed
        };
        list.push(Checked {
            description,
            success,
        });
    }

    /// Returns the constraints of the last call that hold.
    #[must_use]
    pub fn passed(&self) -> &[Checked] {
        &self.passed
    }

    /// Returns the constraints of the last call that fail.
    #[must_use]
    pub fn failed(&self) -> &[Checked] {
        &self.failed
    }

    /// Returns the issue of the last call.
    #[must_use]
    pub fn issue(&self) -> Option<&str> {
        self.issue.as_deref()
    }

    fn issue_suffix(&self) -> String {
        self.issue
            .as_ref()
            .map(|issue| format!(" (issue {issue})"))
            .unwrap_or_default()
    }
}

/// Writes the failed results, then the passed ones, in one line.
impl fmt::Display for TestConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: &[Checked]| {
            let texts: Vec<&str> = of.iter().map(|one| one.description.as_str()).collect();
            texts.join("; ")
        };
        let mut parts = Vec::new();
        if !self.failed.is_empty() {
            parts.push(format!("failed: {}", list(&self.failed)));
        }
        if !self.passed.is_empty() {
            parts.push(format!("passed: {}", list(&self.passed)));
        }
        if parts.is_empty() {
            parts.push("nothing checked".to_owned());
        }
        write!(f, "{}{}", parts.join("; "), self.issue_suffix())
    }
}
