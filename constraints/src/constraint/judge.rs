//! From answers to a verdict on a whole tree, by Kleene's logic.
//!
//! Only answers are looked at, never the host, so a made-up host is as good as a real one.

use super::asked::Asked;
use super::kernel::{Range, Release};
use super::need::{cgroup, distro, place, size, user};
use super::{Atom, Constraint};
use crate::facts::{Host, Question, judge_kvm};
use crate::verdict::{Reason, Verdict};

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
    let standing = silent.all(constraints);
    let reasons = match standing {
        Standing::Met => Vec::new(),
        _ => all_reasons(constraints, &Asked { host, words: true }).reasons,
    };
    Judgement { standing, reasons }
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
    fn all(&self, of: &[Constraint]) -> Standing {
        let mut standing = Standing::Met;
        let vendors = of.iter().any(is_vendor);
        for constraint in of {
            if vendors && is_paired(constraint) {
                continue;
            }
            match self.tree(constraint) {
                Standing::Met => {}
                Standing::Unmet => return Standing::Unmet,
                Standing::Undetermined => standing = Standing::Undetermined,
            }
        }
        match vendors.then(|| self.backport(of)) {
            None | Some(Standing::Met) => standing,
            Some(Standing::Unmet) => Standing::Unmet,
            Some(Standing::Undetermined) => Standing::Undetermined,
        }
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

/// The reasons of a list whose parts must all hold: those of the parts that stand as it does.
fn all_reasons(of: &[Constraint], asked: &Asked<'_>) -> Judgement {
    let vendors = of.iter().any(is_vendor);
    let alone = of
        .iter()
        .filter(|constraint| !(vendors && is_paired(constraint)));
    let mut parts: Vec<Judgement> = alone.map(|constraint| reasons(constraint, asked)).collect();
    if vendors {
        parts.push(backport_reasons(of, asked));
    }
    let standing = asked.all(of);
    if standing == Standing::Met {
        // Seen only below a `not`, which any one part could have kept.
        return joined(standing, "all", of, parts);
    }
    deciding(standing, parts)
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
        Constraint::Atom(atom) => {
            let verdict = decide(atom, asked);
            Judgement {
                standing: Standing::of(&verdict),
                reasons: vec![Reason::new(atom.to_string(), verdict.evidence())],
            }
        }
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
    Judgement {
        standing,
        reasons: vec![Reason {
            constraint: format!("{list}({})", names.join(", ")),
            observed: observed.join(", "),
            source: last.source,
        }],
    }
}

fn not(inner: Judgement) -> Judgement {
    let negated = |reason: Reason| Reason {
        constraint: format!("not({})", reason.constraint),
        ..reason
    };
    Judgement {
        standing: inner.standing.opposite(),
        reasons: inner.reasons.into_iter().map(negated).collect(),
    }
}

fn decide(atom: &Atom, asked: &Asked<'_>) -> Verdict {
    match atom {
        Atom::Root => user::uid(asked, |uid| uid == "0"),
        Atom::NonRoot => user::uid(asked, |uid| uid != "0"),
        Atom::Uid(wanted) => user::uid(asked, |uid| uid.parse() == Ok(*wanted)),
        Atom::RealRoot => user::real_root(asked),
        Atom::Cap(capability) => capability.judge(asked),
        Atom::Kernel(range) => kernel(asked, range),
        Atom::VendorKernel(vendor) => vendor.judge(asked),
        Atom::Kvm => kvm(asked),
        Atom::Command(tool) => tool.judge(asked),
        Atom::Device(device) => asked.is_there(Question::Device(device.0)),
        Atom::Module(name) => asked.is_there(Question::Module(name)),
        Atom::Kconfig(kconfig) => kconfig.judge(asked),
        Atom::Cgroup(version) => asked.judge(Question::Cgroup, |seen| {
            seen.is(seen.text == *version, || {
                format!("the hierarchy is {}", seen.text)
            })
        }),
        Atom::CgroupController(name) => cgroup::judge_controller(name, asked),
        Atom::Namespace(kind) => asked.is_there(Question::Namespace(kind)),
        Atom::Arch(name) => asked.judge(Question::Arch, |seen| {
            seen.is(seen.text == *name, || {
                format!("this was compiled for {}", seen.text)
            })
        }),
        Atom::Distro(distro) => distro.judge(asked),
        Atom::DistroLike(id) => distro::judge_like(id, asked),
        Atom::Container => place::judge_container(asked),
        Atom::Virt(kind) => place::judge_virt(kind, asked),
        Atom::CpusGe(count) => size::judge_count(*count, Question::Cpus, asked),
        Atom::MemAvailableGe(size) => size.judge(Question::MemAvailable, asked),
        Atom::DiskFreeGe(size) => size.judge(Question::DiskFree, asked),
        Atom::CpuFeature(name) => asked.is_there(Question::CpuFeature(name)),
        Atom::Env(variable) => variable.judge(asked),
        Atom::OptIn(name) => asked.is_there(Question::OptIn(name)),
        Atom::When(probe) => asked.is_there(Question::Probe(*probe)),
    }
}

fn kvm(asked: &Asked<'_>) -> Verdict {
    judge_kvm(asked.host.ask(Question::Kvm).into_owned())
}

fn kernel(asked: &Asked<'_>, range: &Range) -> Verdict {
    asked.judge(Question::KernelRelease, |seen| {
        let Some(running) = Release::parse(seen.text) else {
            return seen.undetermined(|| {
                format!(
                    "kernel release {:?} does not begin with a version",
                    seen.text
                )
            });
        };
        seen.may_be(
            range.holds(&running),
            || format!("kernel is {}", seen.text),
            || format!("kernel {} has another vendor's numbering", seen.text),
        )
    })
}

#[cfg(test)]
mod tests {
    //! Scope: logic and wording over made-up answers. The real host is asked by `facts` alone.

    use std::borrow::Cow;

    use super::*;
    use crate::constraint::{command, kernel_ge, kernel_lt, kvm, non_root, root};
    use crate::facts::{Answer, Finding};

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
}
