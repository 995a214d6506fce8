//! Contradictions among constraints that must all hold, found while the test is being compiled.

use super::Constraint;
use super::atom::{Atom, Kind};
use super::range::{Span, span_of};
use super::text::same;

/// Refuses a constraint that contradicts an earlier one.
///
/// # Panics
///
/// If it contradicts one, which in an attribute is a compile error.
#[track_caller]
pub const fn assert_consistent(all: &[Constraint], index: usize) {
    let mut before = 0;
    while before < index {
        if let Some(problem) = contradiction(&all[before], &all[index]) {
            panic!("{}", problem);
        }
        before += 1;
    }
    if matches!(all[index], Constraint::Atom(Atom(Kind::Kernel(_)))) && no_kernel(all, index) {
        panic!("no kernel version satisfies this together with the constraints before it");
    }
}

const fn contradiction(a: &Constraint, b: &Constraint) -> Option<&'static str> {
    match (a, b) {
        (Constraint::Atom(Atom(a)), Constraint::Atom(Atom(b))) => between_atoms(a, b),
        (Constraint::Not(Constraint::Atom(Atom(a))), Constraint::Atom(Atom(b)))
        | (Constraint::Atom(Atom(b)), Constraint::Not(Constraint::Atom(Atom(a))))
            if same_flag(a, b) =>
        {
            Some("this constraint and its negation can never both hold")
        }
        _ => None,
    }
}

const fn between_atoms(a: &Kind, b: &Kind) -> Option<&'static str> {
    match (a, b) {
        (Kind::Root | Kind::RootInUserns | Kind::RealRoot | Kind::Uid(0), Kind::NonRoot)
        | (Kind::NonRoot, Kind::Root | Kind::RootInUserns | Kind::RealRoot | Kind::Uid(0)) => {
            Some("root and `non_root` can never both hold")
        }
        (Kind::Root | Kind::RootInUserns | Kind::RealRoot, Kind::Uid(1..))
        | (Kind::Uid(1..), Kind::Root | Kind::RootInUserns | Kind::RealRoot) => {
            Some("root has uid 0")
        }
        (Kind::Uid(a), Kind::Uid(b)) if *a != *b => Some("a process has one effective uid"),
        (Kind::Arch(a), Kind::Arch(b)) if !same(a, b) => {
            Some("a program is compiled for one architecture: write `any(arch = …, arch = …)`")
        }
        (Kind::Cgroup(a), Kind::Cgroup(b)) if !same(a, b) => {
            Some("a host has one cgroup hierarchy: write `any(cgroup = …, cgroup = …)`")
        }
        (Kind::IsolatedNetwork, Kind::Network(_)) | (Kind::Network(_), Kind::IsolatedNetwork) => {
            Some("a network of the test's own has no way to other hosts")
        }
        (Kind::Virt(a), Kind::Virt(b)) if !same(a, b) => {
            Some("a host runs on one hypervisor: write `any(virt = …, virt = …)`")
        }
        (Kind::KvmVendor(a), Kind::KvmVendor(b)) if !same(a, b) => {
            Some("KVM uses one vendor's CPUs: write `any(kvm_vendor = …, kvm_vendor = …)`")
        }
        (Kind::Distro(a), Kind::Distro(b)) if !same(a.name, b.name) => {
            Some("a host is of one distribution: write `any(distro = …, distro = …)`")
        }
        (Kind::VendorKernel(a), Kind::VendorKernel(b))
            if !same(a.name, b.name) || !same(a.release, b.release) =>
        {
            Some("a kernel is of one vendor: write `any(vendor_kernel = …, vendor_kernel = …)`")
        }
        _ => None,
    }
}

const fn same_flag(a: &Kind, b: &Kind) -> bool {
    matches!(
        (a, b),
        (Kind::Root, Kind::Root)
            | (Kind::RootInUserns, Kind::RootInUserns)
            | (Kind::NonRoot, Kind::NonRoot)
            | (Kind::RealRoot, Kind::RealRoot)
            | (Kind::Kvm, Kind::Kvm)
            | (Kind::KvmHardware, Kind::KvmHardware)
            | (Kind::IsolatedNetwork, Kind::IsolatedNetwork)
            | (Kind::Container, Kind::Container)
    )
}

/// Whether the ranges up to this one leave no version.
const fn no_kernel(all: &[Constraint], index: usize) -> bool {
    let mut span = Span::ALL;
    let mut at = 0;
    while at <= index {
        if let Constraint::Atom(Atom(Kind::Kernel(range))) = &all[at] {
            span = span_of(range, span);
        }
        at += 1;
    }
    span.is_empty()
}
