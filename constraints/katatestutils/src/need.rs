//! The constraints of the Go package, and how each is checked.

use super::Operator;
use kata_test::constraint::{Constraint as Tree, Status, evaluate, parse};
use kata_test::facts::{Finding, Host, Question};

/// Something that [`TestConstraint::not_valid`](super::TestConstraint::not_valid) checks or records.
#[derive(Clone, Debug)]
pub struct Constraint(Need);

#[derive(Clone, Debug)]
enum Need {
    Uid(u32, Operator),
    Kernel(String, Operator, Vec<Tree>),
    Issue(String),
}

/// The effective uid compares so with `uid`, read by geteuid(2).
///
/// # Panics
///
/// If the operator is neither [`Operator::Eq`] nor [`Operator::Ne`]: uids have no order that means
/// anything.
#[track_caller]
#[must_use = "hand it to not_valid"]
pub fn need_uid(uid: u32, op: Operator) -> Constraint {
    assert!(
        matches!(op, Operator::Eq | Operator::Ne),
        "a uid is compared by == or !=, not by {op}"
    );
    Constraint(Need::Uid(uid, op))
}

/// The effective uid is 0.
#[must_use = "hand it to not_valid"]
pub fn need_root() -> Constraint {
    Constraint(Need::Uid(0, Operator::Eq))
}

/// The effective uid is not 0.
#[must_use = "hand it to not_valid"]
pub fn need_non_root() -> Constraint {
    Constraint(Need::Uid(0, Operator::Ne))
}

/// The running kernel compares so with `version`, as far as that states it.
///
/// # Panics
///
/// If `version` is no version; the message says what is wrong with it.
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
    /// The running kernel is that version, as far as it is stated: `"6.1"` is any 6.1.x.
    need_kernel_version_equals = Eq;
    /// The running kernel is another version than that.
    need_kernel_version_not_equals = Ne;
    /// The running kernel is older than that version.
    need_kernel_version_lt = Lt;
    /// The running kernel is that version or older.
    need_kernel_version_le = Le;
    /// The running kernel is newer than that version.
    need_kernel_version_gt = Gt;
    /// The running kernel is that version or newer.
    need_kernel_version_ge = Ge;
}

/// Records an issue that explains the constraints; it is not checked.
#[must_use = "hand it to not_valid"]
pub fn with_issue(issue: &str) -> Constraint {
    Constraint(Need::Issue(issue.to_owned()))
}

impl Constraint {
    /// The issue, if this is one.
    pub(super) fn issue(&self) -> Option<&str> {
        match &self.0 {
            Need::Issue(issue) => Some(issue),
            Need::Uid(..) | Need::Kernel(..) => None,
        }
    }

    /// Checks what there is to check: where it stands, and what Go's package says about it.
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

/// What a host says, in Go's words where it is known.
fn found(host: &dyn Host, question: Question, known: impl Fn(&str) -> String) -> String {
    let answer = host.ask(question);
    match &answer.finding {
        Finding::Is(text) => known(text),
        Finding::Absent(why) | Finding::Unknown(why) => format!("got none: {why}"),
    }
}
