//! Scope: logic and wording over made-up answers. The real host is asked by `facts` alone.

use std::borrow::Cow;

use super::*;
use crate::constraint::{command, kernel_ge, kernel_lt, kvm, non_root, root};
use crate::facts::{Answer, Finding, Question};

/// A host that has nothing but what is said here.
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

fn standing(constraints: &[Constraint]) -> (Standing, String) {
    let judgement = judge(constraints, &DEBIAN);
    (judgement.standing, crate::reason::join(&judgement.reasons))
}

#[test]
fn nothing_asked_is_met() {
    assert_eq!(standing(&[]), (Standing::Met, String::new()));
}

#[test]
fn every_unmet_reason_is_listed_and_no_met_one() {
    let (is, reasons) = standing(&[root(), kernel_ge("6.1"), kernel_ge("6.12"), command("x")]);
    assert_eq!(is, Standing::Unmet);
    assert_eq!(
        reasons,
        "needs root: effective uid is 1000 (geteuid); \
         needs kernel >= 6.12: kernel is 6.1.0-18-amd64 (uname)"
    );
}

#[test]
fn undetermined_beats_met() {
    let (is, reasons) = standing(&[non_root(), command("x")]);
    assert_eq!(is, Standing::Undetermined);
    assert_eq!(reasons, "needs command x: not recorded (a made-up host)");
    let (is, _) = standing(&[kernel_ge("6.1.0-fc-v1")]);
    assert_eq!(is, Standing::Undetermined);
}

#[test]
fn kleene() {
    const MET: Constraint = Constraint::Atom(Atom::NonRoot);
    const UNMET: Constraint = Constraint::Atom(Atom::Root);
    const UNKNOWN: Constraint = command("x");
    use Constraint::{All, Any, Not};
    for (tree, expected) in [
        (Any(&[UNMET, UNKNOWN, MET]), Standing::Met),
        (Any(&[UNMET, UNKNOWN]), Standing::Undetermined),
        (Any(&[UNMET, UNMET]), Standing::Unmet),
        (Any(&[]), Standing::Unmet),
        (All(&[UNKNOWN, UNMET]), Standing::Unmet),
        (All(&[UNKNOWN, MET]), Standing::Undetermined),
        (All(&[]), Standing::Met),
        (Not(&MET), Standing::Unmet),
        (Not(&UNMET), Standing::Met),
        (Not(&UNKNOWN), Standing::Undetermined),
        (Not(&Any(&[UNMET, UNKNOWN])), Standing::Undetermined),
    ] {
        assert_eq!(standing(&[tree]).0, expected, "{tree}");
    }
    let (_, reasons) = standing(&[Not(&MET)]);
    assert_eq!(
        reasons,
        "needs not(non_root): effective uid is 1000 (geteuid)"
    );
}

#[test]
fn a_range_needs_both_ends() {
    assert_eq!(
        standing(&[kernel_ge("6.0"), kernel_lt("6.2")]).0,
        Standing::Met
    );
    assert_eq!(
        standing(&[kernel_ge("5.0"), kernel_lt("6.1")]).0,
        Standing::Unmet
    );
}

#[test]
fn kvm_is_judged_by_its_speed() {
    let host = |finding| MadeUp {
        kvm: finding,
        ..DEBIAN
    };
    let fast = host(Finding::Is(crate::facts::measured_kvm(30_000)));
    let slow = host(Finding::Is(crate::facts::measured_kvm(34_000_000)));
    let broken = host(Finding::Unknown("it broke".into()));
    assert_eq!(judge(&[kvm()], &fast).standing, Standing::Met);
    assert_eq!(judge(&[kvm()], &broken).standing, Standing::Undetermined);
    let slow = judge(&[kvm()], &slow);
    assert_eq!(slow.standing, Standing::Unmet);
    assert_eq!(
        slow.reasons[0].observed,
        "too slow: 20000 loop iterations in a guest took 34.0 ms (1700 ns each, hardware needs about 1)"
    );
}
