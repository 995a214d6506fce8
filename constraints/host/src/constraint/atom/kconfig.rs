//! Symbols of the kernel's configuration.

use crate::constraint::atom::{Kind, Setting};
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{is_word, starts_with};
use crate::facts::Question;
use crate::verdict::Verdict;

const ONE_SYMBOL: &str = "expected one symbol, such as \"CONFIG_KVM\" or \"CONFIG_USER_NS=y\"; \
                          combine symbols by `all(kconfig = …)`, `any(…)` and `not(…)`";

pub(crate) const fn kconfig(text: &'static str) -> Result<Kind, &'static str> {
    let Setting { name, value } = Setting::split(text);
    let name = name.trim_ascii();
    if !starts_with(name, "CONFIG_") || name.len() == 7 || !is_word(name, b"_") {
        return Err(ONE_SYMBOL);
    }
    let Some(value) = value else {
        return Ok(Kind::Kconfig(Setting { name, value }));
    };
    let value = value.trim_ascii();
    if value.is_empty() || value.as_bytes()[0] == b'=' {
        return Err("expected a value after \"=\", such as \"y\", \"m\", \"n\" or a number");
    }
    let mut at = 0;
    while at < value.len() {
        if matches!(value.as_bytes()[at], b'&' | b'|') {
            return Err(ONE_SYMBOL);
        }
        at += 1;
    }
    let value = Some(value);
    Ok(Kind::Kconfig(Setting { name, value }))
}

pub(crate) fn decide(symbol: &Setting, evaluator: &Evaluator<'_>) -> Verdict {
    let name = symbol.name;
    evaluator.decide(Question::Kconfig(name), &|seen| {
        let set = seen.text.trim_matches('"');
        let is_met = match symbol.value {
            Some(value) => set == value,
            None => set == "y" || set == "m",
        };
        seen.met_if(is_met, &|| match seen.text {
            "n" => format!("{name} is not set"),
            text => format!("{name}={text}"),
        })
    })
}

#[cfg(test)]
mod tests {
    //! Scope: what is accepted, and when it is met.

    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::constraint::{Atom, Constraint, Status, evaluate};
    use crate::facts::{Answer, Finding, Host};

    struct Symbols;

    impl Host for Symbols {
        fn ask(&self, question: Question) -> Cow<'_, Answer> {
            let finding = match question {
                Question::Kconfig("CONFIG_Y") => Finding::Is("y".into()),
                Question::Kconfig("CONFIG_M") => Finding::Is("m".into()),
                Question::Kconfig("CONFIG_N") => Finding::Is("n".into()),
                Question::Kconfig("CONFIG_HZ") => Finding::Is("250".into()),
                Question::Kconfig("CONFIG_NAME") => Finding::Is("\"a (b)\"".into()),
                _ => Finding::Unknown("not recorded".into()),
            };
            Cow::Owned(Answer::new(finding, "config"))
        }
    }

    fn status(text: &'static str) -> Status {
        evaluate(
            &[Constraint::Atom(Atom(kconfig(text).expect(text)))],
            &Symbols,
        )
        .status
    }

    #[test]
    fn a_symbol_is_met_by_its_value() {
        for (text, expected) in [
            ("CONFIG_Y", Status::Met),
            ("CONFIG_M", Status::Met),
            ("CONFIG_N", Status::Unmet),
            ("CONFIG_Y=y", Status::Met),
            ("CONFIG_M=y", Status::Unmet),
            ("CONFIG_N=n", Status::Met),
            ("CONFIG_HZ = 250", Status::Met),
            ("CONFIG_NAME=a (b)", Status::Met),
            ("CONFIG_X", Status::Undetermined),
        ] {
            assert_eq!(status(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_symbols_are_refused() {
        for text in [
            "",
            " ",
            "KVM",
            "CONFIG_",
            "CONFIG_A CONFIG_B",
            "CONFIG_A & CONFIG_B",
            "CONFIG_A=y | CONFIG_B",
            "!CONFIG_A",
            "(CONFIG_A)",
            "CONFIG_A != y",
            "CONFIG_A=",
            "CONFIG_A==y",
        ] {
            assert!(kconfig(text).is_err(), "{text}");
        }
        let problem = kconfig("CONFIG_A & !CONFIG_B").expect_err("an expression");
        assert!(problem.contains("`all(kconfig = …)`, `any(…)` and `not(…)`"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[CONFIG_A()&|!=y' ]{0,24}|.*") {
            let text: &'static str = text.leak();
            if kconfig(text).is_ok() {
                status(text);
            }
        }
    }
}
