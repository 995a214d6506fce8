//! Environment variables and opt-ins.

use std::fmt;

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{cut, is_word};
use crate::facts::Question;
use crate::verdict::Verdict;

/// An environment variable that is set, possibly to a certain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variable {
    name: &'static str,
    value: Option<&'static str>,
}

pub(crate) const fn variable(text: &'static str) -> Result<Kind, &'static str> {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() && bytes[end] != b'=' {
        end += 1;
    }
    let name = cut(text, 0, end);
    if !is_word(name, b"_") {
        return Err(
            "expected a variable, such as \"CI\", or one with its value, such as \"CI=true\"",
        );
    }
    let value = if end == bytes.len() {
        None
    } else {
        Some(cut(text, end + 1, bytes.len()))
    };
    Ok(Kind::Env(Variable { name, value }))
}

pub(crate) const fn opt_in(name: &'static str) -> Result<Kind, &'static str> {
    if is_word(name, b"_-") {
        Ok(Kind::OptIn(name))
    } else {
        Err("expected the name of an opt-in, such as \"slow\"")
    }
}

impl Variable {
    pub(crate) fn decide(&self, evaluator: &Evaluator<'_>) -> Verdict {
        evaluator.decide(Question::Env(self.name), |seen| match self.value {
            // Its value may be a secret.
            None => seen.met_if(!seen.text.is_empty(), || {
                let how = if seen.text.is_empty() { "empty" } else { "set" };
                format!("{} is {how}", self.name)
            }),
            Some(value) => seen.met_if(seen.text == value, || {
                let how = if seen.text == value {
                    "set to that value"
                } else {
                    "set to another value"
                };
                format!("{} is {how}", self.name)
            }),
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "env {}={value}", self.name),
            None => write!(f, "env {}", self.name),
        }
    }
}
