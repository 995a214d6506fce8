//! Contradictions among constraints that must all hold, found while the test is being compiled.

use super::kernel::{Span, span_of};
use super::{Atom, Constraint};

/// Refuses a constraint that cannot hold beside one of those before it.
///
/// # Panics
///
/// If it contradicts one, which in an attribute is a compile error.
#[track_caller]
pub const fn agree(all: &[Constraint], index: usize) {
    let mut before = 0;
    while before < index {
        if let Some(problem) = contradiction(&all[before], &all[index]) {
            panic!("{}", problem);
        }
        before += 1;
    }
    if matches!(all[index], Constraint::Atom(Atom::Kernel(_))) && no_kernel(all, index) {
        panic!("no kernel version keeps this and the ranges before it");
    }
}

const fn contradiction(a: &Constraint, b: &Constraint) -> Option<&'static str> {
    match (a, b) {
        (Constraint::Atom(a), Constraint::Atom(b)) => between_atoms(a, b),
        (Constraint::Not(Constraint::Atom(a)), Constraint::Atom(b))
        | (Constraint::Atom(b), Constraint::Not(Constraint::Atom(a)))
            if same_flag(a, b) =>
        {
            Some("this and its opposite can never both hold")
        }
        _ => None,
    }
}

const fn between_atoms(a: &Atom, b: &Atom) -> Option<&'static str> {
    match (a, b) {
        (Atom::Root, Atom::NonRoot) | (Atom::NonRoot, Atom::Root) => {
            Some("`root` and `non_root` can never both hold")
        }
        _ => None,
    }
}

const fn same_flag(a: &Atom, b: &Atom) -> bool {
    matches!(
        (a, b),
        (Atom::Root, Atom::Root) | (Atom::NonRoot, Atom::NonRoot) | (Atom::Kvm, Atom::Kvm)
    )
}

/// Says whether the ranges up to this place leave no version.
const fn no_kernel(all: &[Constraint], index: usize) -> bool {
    let mut span = Span::ALL;
    let mut at = 0;
    while at <= index {
        if let Constraint::Atom(Atom::Kernel(range)) = &all[at] {
            span = span_of(range, span);
        }
        at += 1;
    }
    span.is_empty()
}
