//! A test's verdict on a host that somebody has recorded, as the user that it would run as there.

use std::borrow::Cow;

use crate::constraint::{Judgement, judge as judge_all};
use crate::contract::Recorded;
use crate::facts::{Answer, Finding, Host, Question};
use crate::harness::judged::Judged;
use crate::harness::user::{User, unknown_user};
use crate::registry::Test;

/// Judges a test. Where the host was recorded as root, a test that needs another user gets one.
pub(in crate::harness) fn judge(test: &Test, host: &Recorded) -> Judged {
    let root = Finding::Is("0".to_owned());
    let is_root = || host.ask(Question::EffectiveUid).finding == root;
    match User::wanted(test) {
        Err(problem) => Judged::As(None, unknown_user(&problem)),
        Ok(Some(user)) if is_root() => {
            let judgement = judge_all(test.constraints, &AsUser { host, user });
            Judged::As(Some(user), judgement)
        }
        Ok(_) => Judged::As(None, judge_all(test.constraints, host)),
    }
}

/// Says whether a verdict rests on what was not recorded, so that the host itself may give another.
pub(super) fn is_open(judgement: &Judgement) -> bool {
    let mut observed = judgement.reasons.iter().map(|reason| &reason.observed);
    observed.any(|observed| Recorded::is_missing(observed))
}

/// A host that was recorded by root, as another user sees it.
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
            // What root may use says nothing about others.
            Question::Device(_)
            | Question::Kvm
            | Question::Namespace(_)
            | Question::CgroupControllers
            | Question::Command(_)
            | Question::CommandVersion(_)
            | Question::Probe(_) => Cow::Borrowed(self.host.missing()),
            _ => self.host.ask(question),
        }
    }
}
