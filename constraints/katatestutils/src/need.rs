//! The constraints of the Go package, and their checks.

use super::Operator;
use kata_test::constraint::{Constraint as Tree, Status, evaluate, parse};
use kata_test::facts::{Finding, Host, Question};

/// A constraint for [`TestConstraint::not_valid`](super::TestConstraint::not_valid), or an issue.
#[derive(Clone, Debug)]
pub struct Constraint(Need);

#[derive(Clone, Debug)]
enum Need {
    Uid(u32, Operator),
    Kernel(String, Operator, Vec<Tree>),
    Issue(String),
}

/// Requires that the comparison of the effective uid, by geteuid(2), with `uid` holds.
///
/// # Panics
///
/// If the operator is neither [`Operator::Eq`] nor [`Operator::Ne`]: uids have no meaningful order.
#[track_caller]
#[must_use = "hand it to not_valid"]
pub fn need_uid(uid: u32, op: Operator) -> Constraint {
    assert!(
        matches!(op, Operator::Eq | Operator::Ne),
        "a uid is compared by == or !=, not by {op}"
    );
    Constraint(Need::Uid(uid, op))
}

/// Requires that the effective uid is 0.
#[must_use = "hand it to not_valid"]
pub fn need_root() -> Constraint {
    Constraint(Need::Uid(0, Operator::Eq))
}

/// Requires that the effective uid is not 0.
#[must_use = "hand it to not_valid"]
pub fn need_non_root() -> Constraint {
    Constraint(Need::Uid(0, Operator::Ne))
}

/// Requires that the comparison of the running kernel with `version` holds, as far as `version` is stated.
///
/// # Panics
///
/// If `version` is not a version; the message has the reason.
#[track_caller]
#[must_use = "hand it to not_valid"]
pub fn need_kernel_version_with_op(version: &str, op: Operator) -> Constraint {
    match parse(&format!("{} = \"{version}\"", op.kernel_constraint())) {
        Ok(constraints) => Constraint(Need::Kernel(version.to_owned(), op, constraints)),
        Err(error) => panic!("{version:?} is not a kernel version: {error}"),
    }
}

macro_rules! kernel_versions {
    ($( $(#[doc = $doc:literal])+ $name:ident = $op:ident; )+) => { $(
        $(#[doc = $doc])+
        ///
        /// # Panics
        ///
        /// As [`need_kernel_version_with_op`].
        #[track_caller]
        #[must_use = "hand it to not_valid"]
        pub fn $name(version: &str) -> Constraint {
            need_kernel_version_with_op(version, Operator::$op)
        }
    )+ };
}

kernel_versions! {
    /// The same as [`need_kernel_version_equals`].
    need_kernel_version = Eq;
    /// Requires this kernel version, as far as it is stated: `"6.1"` is any 6.1.x.
    need_kernel_version_equals = Eq;
    /// Requires another kernel version.
    need_kernel_version_not_equals = Ne;
    /// Requires an older kernel.
    need_kernel_version_lt = Lt;
    /// Requires this kernel version or an older one.
    need_kernel_version_le = Le;
    /// Requires a newer kernel.
    need_kernel_version_gt = Gt;
    /// Requires this kernel version or a newer one.
    need_kernel_version_ge = Ge;
}

/// Records an issue that explains the constraints; it is not checked.
#[must_use = "hand it to not_valid"]
pub fn with_issue(issue: &str) -> Constraint {
    Constraint(Need::Issue(issue.to_owned()))
}

impl Constraint {
    /// Returns the issue, if this is one.
    pub(super) fn issue(&self) -> Option<&str> {
        match &self.0 {
            Need::Issue(issue) => Some(issue),
            Need::Uid(..) | Need::Kernel(..) => None,
        }
    }

    /// Checks the constraint. Returns its status and the description of Go's package; nothing for an issue.
    pub(super) fn check(&self, host: &dyn Host) -> Option<(Status, String)> {
        match &self.0 {
            Need::Uid(uid, op) => Some(check_uid(*uid, *op, host)),
            Need::Kernel(version, op, constraints) => {
                let status = evaluate(constraints, host).status;
                let got = found(host, Question::KernelRelease, |release| {
                    format!("got version {release:?}")
                });
                Some((
                    status,
                    format!("need kernel version {op} {version:?}, {got}"),
                ))
            }
            Need::Issue(_) => None,
        }
    }
}

fn check_uid(uid: u32, op: Operator, host: &dyn Host) -> (Status, String) {
    let status = match &host.ask(Question::EffectiveUid).finding {
        Finding::Is(euid) if (*euid == uid.to_string()) == (op == Operator::Eq) => Status::Met,
        Finding::Is(_) | Finding::Absent(_) => Status::Unmet,
        Finding::Unknown(_) => Status::Undetermined,
    };
    let got = found(host, Question::EffectiveUid, |euid| {
        format!("got euid {euid}")
    });
    (status, format!("need uid {op} {uid}, {got}"))
}

/// Formats a fact, by `known` if it is known.
fn found(host: &dyn Host, question: Question, known: impl Fn(&str) -> String) -> String {
    let answer = host.ask(question);
    match &answer.finding {
        Finding::Is(text) => known(text),
        Finding::Absent(why) | Finding::Unknown(why) => format!("got none: {why}"),
    }
}
