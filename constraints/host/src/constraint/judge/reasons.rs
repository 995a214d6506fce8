//! Why a tree stands where it does, for whoever reads it.

use super::decide::decide;
use super::{Judgement, Standing, all_of, any, is_paired, is_vendor, paired};
use crate::constraint::asked::Asked;
use crate::constraint::{Atom, Constraint};
use crate::reason::Reason;
use crate::verdict::Verdict;

/// The reasons of a list whose parts must all hold.
fn all_reasons(of: &[Constraint], asked: &Asked<'_>) -> Judgement {
    let each = asked.silent().each(of);
    reasons_of(of, &each, all_of(&each), asked)
}

/// The same of a list that is known to stand so, and whose parts stand as `each` says: the reasons of
/// the parts that stand as it does.
pub(super) fn reasons_of(
    of: &[Constraint],
    each: &[Standing],
    standing: Standing,
    asked: &Asked<'_>,
) -> Judgement {
    let vendors = of.iter().any(is_vendor);
    let mut parts = Vec::new();
    for (index, part) in of.iter().enumerate() {
        match part {
            part if vendors && is_paired(part) => {}
            // Most parts of most lists: words are not looked for in vain.
            Constraint::Atom(atom) if standing != Standing::Met => {
                if each[index] == standing {
                    parts.push(atom_reason(atom, &decide(atom, asked)));
                }
            }
            part => parts.push(reasons(part, asked)),
        }
    }
    if vendors {
        parts.push(backport_reasons(of, asked));
    }
    if standing == Standing::Met {
        // Seen only below a `not`, which any one part could have kept.
        return joined(standing, "all", of, parts);
    }
    deciding(standing, parts)
}

fn atom_reason(atom: &Atom, verdict: &Verdict) -> Judgement {
    Judgement {
        standing: Standing::of(verdict),
        reasons: vec![Reason::of(atom.to_string(), verdict.evidence())],
    }
}

fn deciding(standing: Standing, parts: Vec<Judgement>) -> Judgement {
    let deciding = parts.into_iter().filter(|part| part.standing == standing);
    Judgement {
        standing,
        reasons: deciding.flat_map(|part| part.reasons).collect(),
    }
}

fn backport_reasons(of: &[Constraint], asked: &Asked<'_>) -> Judgement {
    let standing = asked.backport(of);
    let paired = paired(of);
    let parts: Vec<Judgement> = paired.iter().map(|part| reasons(part, asked)).collect();
    match standing {
        Standing::Undetermined => deciding(standing, parts),
        _ => joined(standing, "any", &paired, parts),
    }
}

fn reasons(constraint: &Constraint, asked: &Asked<'_>) -> Judgement {
    match constraint {
        Constraint::Atom(atom) => atom_reason(atom, &decide(atom, asked)),
        Constraint::All(of) => all_reasons(of, asked),
        Constraint::Any(of) => {
            let parts: Vec<Judgement> = of.iter().map(|part| reasons(part, asked)).collect();
            match any(parts.iter().map(|part| part.standing)) {
                Standing::Unmet => joined(Standing::Unmet, "any", of, parts),
                standing => deciding(standing, parts),
            }
        }
        Constraint::Not(of) => not(reasons(of, asked)),
    }
}

/// One reason for a list that each of its parts could have turned: none of them alone is needed.
fn joined(standing: Standing, list: &str, of: &[Constraint], parts: Vec<Judgement>) -> Judgement {
    let mut reasons: Vec<Reason> = parts.into_iter().flat_map(|part| part.reasons).collect();
    if reasons.len() < 2 {
        return Judgement { standing, reasons };
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
        // One fact may decide several parts, and is told once.
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
    Judgement {
        standing,
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

fn not(inner: Judgement) -> Judgement {
    let negated = |mut reason: Reason| {
        reason.constraint = format!("not({})", reason.constraint);
        reason.with_alternatives(Vec::new())
    };
    Judgement {
        standing: inner.standing.opposite(),
        reasons: inner.reasons.into_iter().map(negated).collect(),
    }
}
