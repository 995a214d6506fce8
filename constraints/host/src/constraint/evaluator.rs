//! The evaluator of atoms: a host, and whether verdicts need texts. Most constraints are met, and texts of
//! met ones are not shown.

use std::borrow::Cow;

use crate::facts::{Answer, Finding, Host, Question};
use crate::verdict::{Evidence, Verdict};

/// A host, and whether verdicts need texts.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'h> {
    pub(crate) host: &'h dyn Host,
    pub(crate) with_texts: bool,
}

/// The text of an answer, and its source.
pub(crate) struct Observation<'a> {
    pub(crate) text: &'a str,
    source: &'a Cow<'static, str>,
    with_texts: bool,
}

impl Evaluator<'_> {
    /// The same without texts.
    pub(crate) fn without_texts(&self) -> Self {
        Self {
            host: self.host,
            with_texts: false,
        }
    }

    /// Decides by the text of an answer; an absent one is unmet, an unknown one undetermined. Not generic, so
    /// that it is compiled once.
    pub(crate) fn decide(
        &self,
        question: Question,
        is: &dyn Fn(&Observation<'_>) -> Verdict,
    ) -> Verdict {
        let answer = self.host.ask(question);
        let Answer { finding, source } = &*answer;
        let seen = |text| Observation {
            text,
            source,
            with_texts: self.with_texts,
        };
        match finding {
            Finding::Is(text) => is(&seen(text)),
            Finding::Absent(text) => seen(text).unmet(&|| text.clone()),
            Finding::Unknown(text) => seen(text).undetermined(&|| text.clone()),
        }
    }

    /// A constraint that is met if the question has an answer.
    pub(crate) fn require_present(&self, question: Question) -> Verdict {
        self.decide(question, &|seen| seen.met(&|| seen.text.to_owned()))
    }
}

impl Observation<'_> {
    pub(crate) fn met(&self, observed: &dyn Fn() -> String) -> Verdict {
        self.say(Verdict::Met, observed)
    }

    pub(crate) fn unmet(&self, observed: &dyn Fn() -> String) -> Verdict {
        self.say(Verdict::Unmet, observed)
    }

    pub(crate) fn undetermined(&self, observed: &dyn Fn() -> String) -> Verdict {
        self.say(Verdict::Undetermined, observed)
    }

    /// Met or unmet, with the same text.
    pub(crate) fn met_if(&self, met: bool, observed: &dyn Fn() -> String) -> Verdict {
        let verdict = if met { Verdict::Met } else { Verdict::Unmet };
        self.say(verdict, observed)
    }

    /// Met, unmet or, if not comparable, undetermined with another text.
    pub(crate) fn met_if_known(
        &self,
        met: Option<bool>,
        observed: &dyn Fn() -> String,
        why: &dyn Fn() -> String,
    ) -> Verdict {
        match met {
            Some(met) => self.met_if(met, observed),
            None => self.say(Verdict::Undetermined, why),
        }
    }

    fn say(&self, verdict: fn(Evidence) -> Verdict, observed: &dyn Fn() -> String) -> Verdict {
        verdict(if self.with_texts {
            Evidence::new(observed(), self.source.clone())
        } else {
            Evidence::new("", "")
        })
    }
}
