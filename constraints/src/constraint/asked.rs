//! A host as a need asks it: verdicts with words where somebody will read them, and without where
//! nobody will, since most constraints are met and met ones are not shown.

use std::borrow::Cow;

use crate::facts::{Answer, Finding, Host, Question};
use crate::verdict::Verdict;

/// A host, and whether words are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'h> {
    pub(crate) host: &'h dyn Host,
    pub(crate) words: bool,
}

/// What a host answered, if it answered.
pub(crate) struct Seen<'a> {
    pub(crate) text: &'a str,
    source: &'a Cow<'static, str>,
    words: bool,
}

impl Asked<'_> {
    /// Judges by what is there; what is absent is unmet, what is unknown undetermined.
    pub(crate) fn judge(
        &self,
        question: Question,
        is: impl FnOnce(&Seen<'_>) -> Verdict,
    ) -> Verdict {
        self.judge_or(question, is, |seen| seen.unmet(|| seen.text.to_owned()))
    }

    /// The same where something absent has a meaning of its own.
    pub(crate) fn judge_or(
        &self,
        question: Question,
        is: impl FnOnce(&Seen<'_>) -> Verdict,
        absent: impl FnOnce(&Seen<'_>) -> Verdict,
    ) -> Verdict {
        let answer = self.host.ask(question);
        let Answer { finding, source } = &*answer;
        let seen = |text| Seen {
            text,
            source,
            words: self.words,
        };
        match finding {
            Finding::Is(text) => is(&seen(text)),
            Finding::Absent(text) => absent(&seen(text)),
            Finding::Unknown(text) => seen(text).undetermined(|| text.clone()),
        }
    }

    /// A need that is met if what it asks for is there at all.
    pub(crate) fn is_there(&self, question: Question) -> Verdict {
        self.judge(question, |seen| seen.met(|| seen.text.to_owned()))
    }
}

impl Seen<'_> {
    pub(crate) fn met(&self, observed: impl FnOnce() -> String) -> Verdict {
        self.say(Verdict::met, observed)
    }

    pub(crate) fn unmet(&self, observed: impl FnOnce() -> String) -> Verdict {
        self.say(Verdict::unmet, observed)
    }

    pub(crate) fn undetermined(&self, observed: impl FnOnce() -> String) -> Verdict {
        self.say(Verdict::undetermined, observed)
    }

    /// Met or unmet, with the same words.
    pub(crate) fn is(&self, met: bool, observed: impl FnOnce() -> String) -> Verdict {
        if met {
            self.met(observed)
        } else {
            self.unmet(observed)
        }
    }

    /// Met, unmet or, without an answer, undetermined: then with other words.
    pub(crate) fn may_be(
        &self,
        met: Option<bool>,
        observed: impl FnOnce() -> String,
        why: impl FnOnce() -> String,
    ) -> Verdict {
        match met {
            Some(met) => self.is(met, observed),
            None => self.undetermined(why),
        }
    }

    fn say(
        &self,
        verdict: fn(Cow<'static, str>, Cow<'static, str>) -> Verdict,
        observed: impl FnOnce() -> String,
    ) -> Verdict {
        if self.words {
            verdict(observed().into(), self.source.clone())
        } else {
            verdict(Cow::Borrowed(""), Cow::Borrowed(""))
        }
    }
}
