//! Scope: logic and wording on made-up answers. Only `facts` observes the real host.

use std::borrow::Cow;

use super::*;
use crate::constraint::atom::{Atom, Kind};
use crate::constraint::{command, kernel_ge, kernel_lt, kvm, non_root, root};
use crate::facts::{Answer, Finding, Question};

/// A host with these facts only.
struct MadeUp {
    uid: &'static str,
    release: &'static str,
    kvm: Finding,
}

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Owned(match question {
            Question::EffectiveUid => Answer::new(Finding::Is(self.uid.into()), "geteuid"),
            Question::KernelRelease => Answer::new(Finding::Is(self.release.into()), "uname"),
            Question::Kvm => Answer::new(self.kvm.clone(), "/dev/kvm"),
            _ => Answer::new(Finding::Unknown("not recorded".into()), "a made-up host"),
        })
    }
}

const DEBIAN: MadeUp = MadeUp {
    uid: "1000",
    release: "6.1.0-18-amd64",
    kvm: Finding::Absent(String::new()),
};

fn status(constraints: &[Constraint]) -> (Status, String) {
    let evaluation = evaluate(constraints, &DEBIAN);
    (evaluation.status, crate::reason::join(&evaluation.reasons))
}

#[test]
fn no_constraints_are_met() {
    assert_eq!(status(&[]), (Status::Met, String::new()));
}

#[test]
fn every_unmet_constraint_is_a_reason() {
    let (is, reasons) = status(&[root(), kernel_ge("6.1"), kernel_ge("6.12"), command("x")]);
    assert_eq!(is, Status::Unmet);
    assert_eq!(
        reasons,
        "needs root: effective uid is 1000 (geteuid); \
         needs kernel >= 6.12: kernel is 6.1.0-18-amd64 (uname)"
    );
}

#[test]
fn undetermined_beats_met() {
    let (is, reasons) = status(&[non_root(), command("x")]);
    assert_eq!(is, Status::Undetermined);
    assert_eq!(reasons, "needs command x: not recorded (a made-up host)");
    let (is, _) = status(&[kernel_ge("6.1.0-fc-v1")]);
    assert_eq!(is, Status::Undetermined);
}

#[test]
fn kleene() {
    const MET: Constraint = Constraint::Atom(Atom(Kind::NonRoot));
    const UNMET: Constraint = Constraint::Atom(Atom(Kind::Root));
    const UNKNOWN: Constraint = command("x");
    use Constraint::{All, Any, Not};
    for (tree, expected) in [
        (Any(&[UNMET, UNKNOWN, MET]), Status::Met),
        (Any(&[UNMET, UNKNOWN]), Status::Undetermined),
        (Any(&[UNMET, UNMET]), Status::Unmet),
        (Any(&[]), Status::Unmet),
        (All(&[UNKNOWN, UNMET]), Status::Unmet),
        (All(&[UNKNOWN, MET]), Status::Undetermined),
        (All(&[]), Status::Met),
        (Not(&MET), Status::Unmet),
        (Not(&UNMET), Status::Met),
        (Not(&UNKNOWN), Status::Undetermined),
        (Not(&Any(&[UNMET, UNKNOWN])), Status::Undetermined),
    ] {
        assert_eq!(status(&[tree]).0, expected, "{tree}");
    }
    let (_, reasons) = status(&[Not(&MET)]);
    assert_eq!(
        reasons,
        "needs not(non_root): effective uid is 1000 (geteuid)"
    );
}

#[test]
fn each_part_of_an_unmet_any_would_be_enough() {
    use Constraint::{All, Any, Not};
    const ANY: Constraint = Any(&[root(), Any(&[kernel_lt("5.0"), kvm()])]);
    const NOT_ALL: Constraint = Not(&All(&[non_root(), kernel_ge("6.1")]));
    for (tree, expected) in [(ANY, &["root", "kernel < 5.0", "kvm"][..]), (NOT_ALL, &[])] {
        let evaluation = evaluate(&[tree], &DEBIAN);
        assert_eq!(evaluation.status, Status::Unmet, "{expected:?}");
        assert_eq!(evaluation.reasons.len(), 1);
        assert_eq!(evaluation.reasons[0].alternatives(), expected);
    }
}

#[test]
fn both_bounds_of_a_range_must_hold() {
    assert_eq!(status(&[kernel_ge("6.0"), kernel_lt("6.2")]).0, Status::Met);
    assert_eq!(
        status(&[kernel_ge("5.0"), kernel_lt("6.1")]).0,
        Status::Unmet
    );
}

#[test]
fn kvm_is_decided_by_what_a_guest_does() {
    let of = |kvm_is| {
        let host = MadeUp {
            kvm: kvm_is,
            ..DEBIAN
        };
        evaluate(&[kvm()], &host).status
    };
    let text = || "as the probe found".to_owned();
    assert_eq!(of(Finding::Is(text())), Status::Met);
    assert_eq!(of(Finding::Absent(text())), Status::Unmet);
    assert_eq!(of(Finding::Unknown(text())), Status::Undetermined);
}
