//! Environment variables and opt-ins.

use crate::constraint::atom::{Kind, Setting};
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{is_word, try_const, word};
use crate::facts::Question;
use crate::verdict::Verdict;

pub(crate) const fn variable(text: &'static str) -> Result<Kind, &'static str> {
    let variable = Setting::split(text);
    if !is_word(variable.name, b"_") {
        return Err(
            "expected a variable, such as \"CI\", or one with its value, such as \"CI=true\"",
        );
    }
    Ok(Kind::Env(variable))
}

pub(crate) const fn opt_in(name: &'static str) -> Result<Kind, &'static str> {
    let problem = "expected the name of an opt-in, such as \"slow\"";
    Ok(Kind::OptIn(try_const!(word(name, b"_-", problem))))
}

pub(crate) fn decide(variable: &Setting, evaluator: &Evaluator<'_>) -> Verdict {
    let Setting { name, value } = *variable;
    evaluator.decide(Question::Env(name), &|seen| {
        // Its value may be a secret.
        let (is_met, how) = match value {
            None if seen.text.is_empty() => (false, "empty"),
            None => (true, "set"),
            Some(value) if seen.text == value => (true, "set to that value"),
            Some(_) => (false, "set to another value"),
        };
        seen.met_if(is_met, &|| format!("{name} is {how}"))
    })
}
