//! From answers to a verdict on a whole tree, by Kleene's logic.
//!
//! Only answers are looked at, never the host, so a made-up host is as good as a real one.

mod decide;
mod reasons;
#[cfg(test)]
mod tests;

use super::asked::Asked;
use super::{Atom, Constraint};
use crate::facts::Host;
use crate::reason::Reason;
use crate::verdict::Verdict;
use decide::decide;
use reasons::reasons_of;

/// Where a tree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every constraint is met.
    Met,
    /// A constraint is not met.
    Unmet,
    /// It cannot be told.
    Undetermined,
}

/// Where a tree stands, and every atom that brought it there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a judgement that is not looked at decides nothing"]
pub struct Judgement {
    /// Where the tree stands.
    pub standing: Standing,
    /// Why; nothing if it is met.
    pub reasons: Vec<Reason>,
}

/// Judges constraints that must all hold.
pub fn judge(constraints: &[Constraint], host: &dyn Host) -> Judgement {
    // Most tests are met, and nobody reads why: the words are looked for where they are needed.
    let silent = Asked { host, words: false };
    let each = silent.each(constraints);
    let standing = all_of(&each);
    let reasons = match standing {
        Standing::Met => Vec::new(),
        _ => reasons_of(constraints, &each, standing, &Asked { host, words: true }).reasons,
    };
    Judgement { standing, reasons }
}

/// Where a list stands whose parts stand so.
fn all_of(each: &[Standing]) -> Standing {
    let mut standing = Standing::Met;
    for part in each {
        standing = standing.and(*part);
    }
    standing
}

/// What of a list has to be judged as one: by itself, or beside `vendor_kernel`.
///
/// Where a list names a vendor's kernels, what it asks of the version is met by these too: they have
/// the feature, whatever their version says.
fn is_paired(constraint: &Constraint) -> bool {
    match constraint {
        Constraint::Atom(Atom::Kernel(range)) => range.is_minimum(),
        other => is_vendor(other),
    }
}

/// A vendor's kernels, or those of several, as `vendor_kernel("…", "…")` states them.
fn is_vendor(constraint: &Constraint) -> bool {
    match constraint {
        Constraint::Atom(atom) => matches!(atom, Atom::VendorKernel(_)),
        Constraint::All(of) => !of.is_empty() && of.iter().all(is_vendor),
        _ => false,
    }
}

/// The minimum versions of a list, and the vendors' kernels that it names one by one.
fn paired(of: &[Constraint]) -> Vec<Constraint> {
    let each = of.iter().filter(|constraint| is_paired(constraint));
    each.flat_map(|constraint| match constraint {
        Constraint::All(of) => paired(of),
        other => vec![*other],
    })
    .collect()
}

impl Asked<'_> {
    /// Where a list stands, asked no further than to the first part that decides.
    fn all(&self, of: &[Constraint]) -> Standing {
        let mut standing = Standing::Met;
        let vendors = of.iter().any(is_vendor);
        for constraint in of {
            if vendors && is_paired(constraint) {
                continue;
            }
            standing = standing.and(self.tree(constraint));
            if standing == Standing::Unmet {
                return standing;
            }
        }
        match vendors.then(|| self.backport(of)) {
            Some(backport) => standing.and(backport),
            None => standing,
        }
    }

    /// Where each part of a list stands. What is paired with a vendor's kernels stands where they
    /// stand together.
    fn each(&self, of: &[Constraint]) -> Vec<Standing> {
        let backport = of.iter().any(is_vendor).then(|| self.backport(of));
        let mut each = Vec::with_capacity(of.len());
        for constraint in of {
            each.push(match backport {
                Some(standing) if is_paired(constraint) => standing,
                _ => self.tree(constraint),
            });
        }
        each
    }

    /// The minimum versions of a list, or one of the vendors' kernels that it names.
    fn backport(&self, of: &[Constraint]) -> Standing {
        let (vendors, minimums): (Vec<Constraint>, Vec<_>) =
            paired(of).into_iter().partition(is_vendor);
        let new_enough = match minimums[..] {
            [] => Standing::Unmet,
            _ => self.all(&minimums),
        };
        let each = vendors.iter().map(|vendor| self.tree(vendor));
        any(each.chain([new_enough]))
    }

    fn tree(&self, constraint: &Constraint) -> Standing {
        match constraint {
            Constraint::Atom(atom) => Standing::of(&decide(atom, self)),
            Constraint::All(of) => self.all(of),
            Constraint::Any(of) => any(of.iter().map(|constraint| self.tree(constraint))),
            Constraint::Not(of) => self.tree(of).opposite(),
        }
    }
}

impl Standing {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Met(_) => Self::Met,
            Verdict::Unmet(_) => Self::Unmet,
            Verdict::Undetermined(_) => Self::Undetermined,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unmet, _) | (_, Self::Unmet) => Self::Unmet,
            (Self::Undetermined, _) | (_, Self::Undetermined) => Self::Undetermined,
            (Self::Met, Self::Met) => Self::Met,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Met => Self::Unmet,
            Self::Unmet => Self::Met,
            Self::Undetermined => Self::Undetermined,
        }
    }
}

fn any(each: impl Iterator<Item = Standing>) -> Standing {
    let mut standing = Standing::Unmet;
    for one in each {
        match one {
            Standing::Met => return Standing::Met,
            Standing::Unmet => {}
            Standing::Undetermined => standing = Standing::Undetermined,
        }
    }
    standing
}
