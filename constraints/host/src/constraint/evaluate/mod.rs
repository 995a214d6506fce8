//! Evaluates constraints over a host's answers, by Kleene's logic.
//!
//! It uses a host's answers only, so that tests can use made-up hosts.

mod atom;
mod reasons;
#[cfg(test)]
mod tests;

use super::Constraint;
use super::evaluator::Evaluator;
use crate::facts::Host;
use crate::reason::Reason;
pub use crate::verdict::Status;
use reasons::reasons_of;

/// Whether constraints are met, and every atom that decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an evaluation that is not looked at decides nothing"]
pub struct Evaluation {
    /// Whether the constraints are met.
    pub status: Status,
    /// Why they are not; empty if they are.
    pub reasons: Vec<Reason>,
}

/// Evaluates constraints that must all hold.
pub fn evaluate(constraints: &[Constraint], host: &dyn Host) -> Evaluation {
    let evaluator = Evaluator {
        host,
        with_texts: true,
    };
    // The constraints of most tests are met, and reasons are not shown then: no text is made.
    let each = evaluator.without_texts().each(constraints);
    let status = all(each.iter().copied());
    let reasons = match status {
        Status::Met => Vec::new(),
        _ => reasons_of(constraints, &each, status, &evaluator).reasons,
    };
    Evaluation { status, reasons }
}

impl Evaluator<'_> {
    fn each(&self, of: &[Constraint]) -> Vec<Status> {
        of.iter().map(|part| self.tree(part)).collect()
    }

    fn tree(&self, constraint: &Constraint) -> Status {
        match constraint {
            Constraint::Atom(atom) => atom::decide(atom, self).status(),
            Constraint::All(of) => all(of.iter().map(|part| self.tree(part))),
            Constraint::Any(of) => any(of.iter().map(|part| self.tree(part))),
            Constraint::Not(of) => self.tree(of).opposite(),
        }
    }
}

/// The conjunction. It stops at the first part that is unmet.
fn all(each: impl Iterator<Item = Status>) -> Status {
    any(each.map(Status::opposite)).opposite()
}

/// The disjunction. It stops at the first part that is met.
fn any(each: impl Iterator<Item = Status>) -> Status {
    let mut status = Status::Unmet;
    for one in each {
        match one {
            Status::Met => return Status::Met,
            Status::Unmet => {}
            Status::Undetermined => status = Status::Undetermined,
        }
    }
    status
}
