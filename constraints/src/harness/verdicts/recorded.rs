//! A test's verdict on a recorded host, as the user that it would run as there.

use std::borrow::Cow;
use std::rc::Rc;

use crate::constraint::{self, Constraint, Status};
use crate::contract::Recorded;
use crate::facts::{Answer, Finding, Host, Question};
use crate::harness::plan::Evaluated;
use crate::harness::user::{User, unknown_user};
use crate::registry::Test;

/// Evaluates a test. Where root recorded the host, a test that needs another user gets one.
pub(in crate::harness) fn evaluate(test: &Test, host: &Recorded) -> Evaluated {
    let (user, evaluation) = match user(test, host) {
        Err(problem) => (None, unknown_user(problem)),
        Ok(None) => (None, constraint::evaluate(test.constraints, host)),
        Ok(Some(user)) => {
            let evaluation = constraint::evaluate(test.constraints, &AsUser { host, user });
            (Some(user), evaluation)
        }
    };
    Evaluated {
        user,
        evaluation: Rc::new(evaluation),
    }
}

fn user(test: &Test, host: &Recorded) -> Result<Option<User>, String> {
    if host.ask(Question::EffectiveUid).finding == Finding::Is("0".to_owned()) {
        User::wanted(test)
    } else {
        Ok(None)
    }
}

/// Whether an undetermined verdict rests on facts that were not recorded, so that the host itself may
/// give another.
pub(super) fn is_open(test: &Test, host: &Recorded, status: Status) -> bool {
    if status != Status::Undetermined {
        return false;
    }
    let rests_on_missing = |seen: &dyn Host| {
        let mut atoms = test.constraints.iter().flat_map(atoms);
        atoms.any(|atom| {
            let before = host.missing_count();
            let status = constraint::evaluate(std::slice::from_ref(atom), seen).status;
            status == Status::Undetermined && host.missing_count() > before
        })
    };
    match user(test, host) {
        Ok(Some(user)) => rests_on_missing(&AsUser { host, user }),
        Ok(None) => rests_on_missing(host),
        Err(_) => false,
    }
}

/// The constraints without operators.
fn atoms(constraint: &Constraint) -> Vec<&Constraint> {
    match constraint {
        Constraint::All(of) | Constraint::Any(of) => of.iter().flat_map(atoms).collect(),
        Constraint::Not(of) => atoms(of),
        _ => vec![constraint],
    }
}

/// A host that root recorded, as another user sees it.
struct AsUser<'a> {
    host: &'a Recorded,
    user: User,
}

impl Host for AsUser<'_> {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        const SOURCE: &str = "setresuid from root";
        let is = |text: String| Cow::Owned(Answer::new(Finding::Is(text), SOURCE));
        match question {
            Question::EffectiveUid => is(self.user.uid().to_string()),
            Question::Capabilities => is("CapEff 0000000000000000".to_owned()),
            // These facts depend on the user.
            Question::Device(_)
            | Question::Kvm
            | Question::KvmSpeed
            | Question::KvmCapabilities
            | Question::Namespace(_)
            | Question::CgroupControllers
            | Question::Command(_)
            | Question::CommandVersion(_)
            | Question::Probe(_) => Cow::Borrowed(self.host.missing()),
            _ => self.host.ask(question),
        }
    }
}
