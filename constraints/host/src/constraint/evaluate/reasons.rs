//! Why constraints are unmet or undetermined, for a person.

use super::atom::decide;
use super::{Evaluation, Status, all, any};
use crate::constraint::Constraint;
use crate::constraint::evaluator::Evaluator;
use crate::reason::Reason;

/// The reasons of a list whose parts must all hold. Its status, and that of its parts, is known.
pub(super) fn reasons_of(
    of: &[Constraint],
    each: &[Status],
    status: Status,
    evaluator: &Evaluator<'_>,
) -> Evaluation {
    if status == Status::Met {
        // Only below a `not`, which one unmet part would have met.
        let parts = of.iter().map(|part| reasons(part, evaluator)).collect();
        return joined(status, "all", of, parts);
    }
    let parts = of.iter().zip(each).filter(|(_, each)| **each == status);
    let parts = parts.map(|(part, _)| reasons(part, evaluator)).collect();
    deciding(status, parts)
}

/// The reasons of the parts that decide the status.
fn deciding(status: Status, parts: Vec<Evaluation>) -> Evaluation {
    let deciding = parts.into_iter().filter(|part| part.status == status);
    Evaluation {
        status,
        reasons: deciding.flat_map(|part| part.reasons).collect(),
    }
}

fn reasons(constraint: &Constraint, evaluator: &Evaluator<'_>) -> Evaluation {
    match constraint {
        Constraint::Atom(atom) => {
            let verdict = decide(atom, evaluator);
            Evaluation {
                status: verdict.status(),
                reasons: vec![Reason::of(atom.to_string(), verdict.evidence())],
            }
        }
        Constraint::All(of) => {
            let each = evaluator.without_texts().each(of);
            reasons_of(of, &each, all(each.iter().copied()), evaluator)
        }
        Constraint::Any(of) => {
            let parts: Vec<Evaluation> = of.iter().map(|part| reasons(part, evaluator)).collect();
            match any(parts.iter().map(|part| part.status)) {
                Status::Unmet => joined(Status::Unmet, "any", of, parts),
                status => deciding(status, parts),
            }
        }
        Constraint::Not(of) => not(reasons(of, evaluator)),
    }
}

/// One reason for a list of which any part could have changed the status.
fn joined(status: Status, list: &str, of: &[Constraint], parts: Vec<Evaluation>) -> Evaluation {
    let mut reasons: Vec<Reason> = parts.into_iter().flat_map(|part| part.reasons).collect();
    if reasons.len() < 2 {
        return Evaluation { status, reasons };
    }
    let names: Vec<String> = of.iter().map(Constraint::to_string).collect();
    let last = reasons.pop().expect("two reasons at least");
    let mut observed: Vec<String> = Vec::new();
    for Reason {
        observed: seen,
        source,
        ..
    } in reasons
    {
        // One fact may decide several parts, and is listed once.
        if seen != last.observed {
            observed.push(format!("{seen} ({source})"));
        }
    }
    observed.push(last.observed);
    let alternatives = match list {
        "any" => alternatives(of),
        _ => Vec::new(),
    };
    let constraint = format!("{list}({})", names.join(", "));
    let reason = Reason::constraint(constraint, observed.join(", "), last.source);
    Evaluation {
        status,
        reasons: vec![reason.with_alternatives(alternatives)],
    }
}

/// The constraints of which one is enough, those of an inner `any` included.
fn alternatives(of: &[Constraint]) -> Vec<String> {
    let each = of.iter().flat_map(|one| match one {
        Constraint::Any(of) => alternatives(of),
        other => vec![other.to_string()],
    });
    each.collect()
}

fn not(inner: Evaluation) -> Evaluation {
    let negated = |mut reason: Reason| {
        reason.constraint = format!("not({})", reason.constraint);
        reason.with_alternatives(Vec::new())
    };
    Evaluation {
        status: inner.status.opposite(),
        reasons: inner.reasons.into_iter().map(negated).collect(),
    }
}
