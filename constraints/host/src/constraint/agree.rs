//! Contradictions among constraints that must all hold, found while the test is being compiled.

use super::kernel::{Span, span_of};
use super::text::same;
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
        (Atom::Root | Atom::RealRoot | Atom::Uid(0), Atom::NonRoot)
        | (Atom::NonRoot, Atom::Root | Atom::RealRoot | Atom::Uid(0)) => {
            Some("root and `non_root` can never both hold")
        }
        (Atom::Root | Atom::RealRoot, Atom::Uid(1..))
        | (Atom::Uid(1..), Atom::Root | Atom::RealRoot) => Some("root has the uid 0 and no other"),
        (Atom::Uid(a), Atom::Uid(b)) if *a != *b => Some("a process has one effective uid"),
        (Atom::Arch(a), Atom::Arch(b)) if !same(a, b) => {
            Some("a program is compiled for one architecture: write `any(arch = …, arch = …)`")
        }
        (Atom::Cgroup(a), Atom::Cgroup(b)) if !same(a, b) => {
            Some("a host has one cgroup hierarchy: write `any(cgroup = …, cgroup = …)`")
        }
        (Atom::Virt(a), Atom::Virt(b)) if !same(a, b) => {
            Some("a host runs on one hypervisor: write `any(virt = …, virt = …)`")
        }
        (Atom::Distro(a), Atom::Distro(b)) if !same(a.id, b.id) => {
            Some("a host is of one distribution: write `any(distro = …, distro = …)`")
        }
        _ => None,
    }
}

const fn same_flag(a: &Atom, b: &Atom) -> bool {
    matches!(
        (a, b),
        (Atom::Root, Atom::Root)
            | (Atom::NonRoot, Atom::NonRoot)
            | (Atom::RealRoot, Atom::RealRoot)
            | (Atom::Kvm, Atom::Kvm)
            | (Atom::Container, Atom::Container)
    )
}

/// Says whether the ranges up to this place leave no version. Beside a vendor's kernels a minimum
/// is not the last word.
const fn no_kernel(all: &[Constraint], index: usize) -> bool {
    let mut span = Span::ALL;
    let mut at = 0;
    while at < all.len() {
        if is_vendor(&all[at]) {
            return false;
        }
        at += 1;
    }
    at = 0;
    while at <= index {
        if let Constraint::Atom(Atom::Kernel(range)) = &all[at] {
            span = span_of(range, span);
        }
        at += 1;
    }
    span.is_empty()
}

const fn is_vendor(constraint: &Constraint) -> bool {
    match constraint {
        Constraint::Atom(Atom::VendorKernel(_)) => true,
        Constraint::All(of) => !of.is_empty() && is_vendor(&of[0]),
        _ => false,
    }
}
