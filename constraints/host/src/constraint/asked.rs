//! A host as a need asks it: verdicts with words where somebody will read them, and without where
//! nobody will, since most constraints are met and met ones are not shown.

use std::borrow::Cow;

use crate::facts::{Answer, Finding, Host, Question};
use crate::verdict::{Evidence, Verdict};

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
    /// The same where nobody reads the words.
    pub(crate) fn silent(&self) -> Self {
        Self {
            words: false,
            ..*self
        }
    }

    /// Judges by what is there; what is absent is unmet, what is unknown undetermined.
    pub(crate) fn judge(&self, question: Question, is: impl Fn(&Seen<'_>) -> Verdict) -> Verdict {
        self.judge_by(question, &is)
    }

    /// Compiled once, not for each kind of need.
    fn judge_by(&self, question: Question, is: &dyn Fn(&Seen<'_>) -> Verdict) -> Verdict {
        let answer = self.host.ask(question);
        let Answer { finding, source } = &*answer;
        let seen = |text| Seen {
            text,
            source,
            words: self.words,
        };
        match finding {
            Finding::Is(text) => is(&seen(text)),
            Finding::Absent(text) => seen(text).unmet(|| text.clone()),
            Finding::Unknown(text) => seen(text).undetermined(|| text.clone()),
        }
    }

    /// A need that is met if what it asks for is there at all.
    pub(crate) fn is_there(&self, question: Question) -> Verdict {
        self.judge(question, |seen| seen.met(|| seen.text.to_owned()))
    }
}

impl Seen<'_> {
    pub(crate) fn met(&self, observed: impl Fn() -> String) -> Verdict {
        self.say(Verdict::Met, &observed)
    }

    pub(crate) fn unmet(&self, observed: impl Fn() -> String) -> Verdict {
        self.say(Verdict::Unmet, &observed)
    }

    pub(crate) fn undetermined(&self, observed: impl Fn() -> String) -> Verdict {
        self.say(Verdict::Undetermined, &observed)
    }

    /// Met or unmet, with the same words.
    pub(crate) fn is(&self, met: bool, observed: impl Fn() -> String) -> Verdict {
        let verdict = if met { Verdict::Met } else { Verdict::Unmet };
        self.say(verdict, &observed)
    }

    /// Met, unmet or, without an answer, undetermined: then with other words.
    pub(crate) fn may_be(
        &self,
        met: Option<bool>,
        observed: impl Fn() -> String,
        why: impl Fn() -> String,
    ) -> Verdict {
        match met {
            Some(met) => self.is(met, observed),
            None => self.say(Verdict::Undetermined, &why),
        }
    }

    fn say(&self, verdict: fn(Evidence) -> Verdict, observed: &dyn Fn() -> String) -> Verdict {
        verdict(if self.words {
            Evidence::new(observed(), self.source.clone())
        } else {
            Evidence::new("", "")
        })
    }
}
