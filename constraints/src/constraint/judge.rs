//! From answers to a verdict on a whole tree, by Kleene's logic.
//!
//! Only answers are looked at, never the host, so a made-up host is as good as a real one.

use super::kernel::{Range, Release};
use super::{Atom, Constraint};
use crate::facts::{Answer, Finding, Host, Question, judge_kvm};
use crate::verdict::{Reason, Verdict};

/// Where a tree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Met,
    Unmet,
    Undetermined,
}

/// Where a tree stands, and every atom that brought it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) standing: Standing,
    pub(crate) reasons: Vec<Reason>,
}

/// Judges constraints that must all hold.
pub(crate) fn judge(constraints: &[Constraint], host: &dyn Host) -> Judgement {
    all(constraints
        .iter()
        .map(|constraint| tree(constraint, host))
        .collect())
}

fn tree(constraint: &Constraint, host: &dyn Host) -> Judgement {
    let each = |of: &[Constraint]| of.iter().map(|constraint| tree(constraint, host)).collect();
    match constraint {
        Constraint::Atom(atom) => leaf(atom, host),
        Constraint::All(of) => all(each(of)),
        Constraint::Any(of) => any(each(of)),
        Constraint::Not(of) => not(tree(of, host)),
    }
}

fn leaf(atom: &Atom, host: &dyn Host) -> Judgement {
    let verdict = decide(atom, host);
    let standing = match verdict {
        Verdict::Met(_) => Standing::Met,
        Verdict::Unmet(_) => Standing::Unmet,
        Verdict::Undetermined(_) => Standing::Undetermined,
    };
    let reasons = vec![Reason::new(atom.to_string(), verdict.evidence())];
    Judgement { standing, reasons }
}

/// The first of unmet, undetermined, met that any part has; its reasons are those of these parts.
fn all(parts: Vec<Judgement>) -> Judgement {
    first_of(
        [Standing::Unmet, Standing::Undetermined],
        Standing::Met,
        parts,
    )
}

fn any(parts: Vec<Judgement>) -> Judgement {
    first_of(
        [Standing::Met, Standing::Undetermined],
        Standing::Unmet,
        parts,
    )
}

fn first_of(order: [Standing; 2], otherwise: Standing, parts: Vec<Judgement>) -> Judgement {
    let has = |standing: &Standing| parts.iter().any(|part| part.standing == *standing);
    let standing = order.into_iter().find(has).unwrap_or(otherwise);
    let deciding = parts.into_iter().filter(|part| part.standing == standing);
    Judgement {
        standing,
        reasons: deciding.flat_map(|part| part.reasons).collect(),
    }
}

fn not(inner: Judgement) -> Judgement {
    let standing = match inner.standing {
        Standing::Met => Standing::Unmet,
        Standing::Unmet => Standing::Met,
        Standing::Undetermined => Standing::Undetermined,
    };
    let negated = |reason: Reason| Reason {
        constraint: format!("not({})", reason.constraint),
        ..reason
    };
    Judgement {
        standing,
        reasons: inner.reasons.into_iter().map(negated).collect(),
    }
}

fn decide(atom: &Atom, host: &dyn Host) -> Verdict {
    match atom {
        Atom::Root => user(host, |uid| uid == "0"),
        Atom::NonRoot => user(host, |uid| uid != "0"),
        Atom::Kernel(range) => kernel(host, range),
        Atom::Kvm => judge_kvm(host.ask(Question::Kvm)),
        Atom::Command(name) => plain(host.ask(Question::Command(name))),
        Atom::When(probe) => plain(host.ask(Question::Probe(*probe))),
    }
}

/// An answer that is a verdict by itself: what was asked for is there or it is not.
fn plain(answer: Answer) -> Verdict {
    match answer.finding {
        Finding::Is(observed) => Verdict::met(observed, answer.source),
        Finding::Absent(observed) => Verdict::unmet(observed, answer.source),
        Finding::Unknown(observed) => Verdict::undetermined(observed, answer.source),
    }
}

fn user(host: &dyn Host, wanted: impl Fn(&str) -> bool) -> Verdict {
    let Answer { finding, source } = host.ask(Question::EffectiveUid);
    match finding {
        Finding::Is(uid) if wanted(&uid) => Verdict::met(format!("effective uid is {uid}"), source),
        Finding::Is(uid) => Verdict::unmet(format!("effective uid is {uid}"), source),
        Finding::Absent(observed) => Verdict::unmet(observed, source),
        Finding::Unknown(observed) => Verdict::undetermined(observed, source),
    }
}

fn kernel(host: &dyn Host, range: &Range) -> Verdict {
    let Answer { finding, source } = host.ask(Question::KernelRelease);
    let release = match finding {
        Finding::Is(release) => release,
        Finding::Absent(observed) => return Verdict::unmet(observed, source),
        Finding::Unknown(observed) => return Verdict::undetermined(observed, source),
    };
    let Some(running) = Release::parse(&release) else {
        let observed = format!("kernel release {release:?} does not begin with a version");
        return Verdict::undetermined(observed, source);
    };
    match range.holds(&running) {
        Some(true) => Verdict::met(format!("kernel is {release}"), source),
        Some(false) => Verdict::unmet(format!("kernel is {release}"), source),
        None => {
            let observed = format!("kernel {release} has another vendor's numbering");
            Verdict::undetermined(observed, source)
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: logic and wording over made-up answers. The real host is asked by `facts` alone.

    use super::*;
    use crate::constraint::{command, kernel_ge, kernel_lt, kvm, non_root, root};

    /// A host that has nothing but what is said here.
    struct MadeUp {
        uid: &'static str,
        release: &'static str,
        kvm: Finding,
    }

    impl Host for MadeUp {
        fn ask(&self, question: Question) -> Answer {
            match question {
                Question::EffectiveUid => Answer::new(Finding::Is(self.uid.into()), "geteuid"),
                Question::KernelRelease => Answer::new(Finding::Is(self.release.into()), "uname"),
                Question::Kvm => Answer::new(self.kvm.clone(), "/dev/kvm"),
                _ => Answer::new(Finding::Unknown("not recorded".into()), "a made-up host"),
            }
        }
    }

    const DEBIAN: MadeUp = MadeUp {
        uid: "1000",
        release: "6.1.0-18-amd64",
        kvm: Finding::Absent(String::new()),
    };

    fn standing(constraints: &[Constraint]) -> (Standing, String) {
        let judgement = judge(constraints, &DEBIAN);
        (judgement.standing, crate::verdict::join(&judgement.reasons))
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
        const UNKNOWN: Constraint = Constraint::Atom(Atom::Command("x"));
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
}
