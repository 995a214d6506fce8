//! Expressions over the kernel's configuration.
//!
//! ```text
//! any    = all { "|" all }
//! all    = one { "&" one }
//! one    = "!" one | "(" any ")" | CONFIG_NAME [ ("=" | "!=") value ]
//! value  = letters, digits and -._/+, or a text in single quotes
//! ```

use std::borrow::Cow;
use std::fmt;

use crate::constraint::Atom;
use crate::constraint::asked::Asked;
use crate::constraint::text::{cut, starts_with};
use crate::facts::{Finding, Question};
use crate::verdict::Verdict;

/// An expression over symbols, checked when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kconfig(&'static str);

#[derive(Clone, Copy)]
enum Token {
    Symbol(&'static str),
    Value(&'static str),
    Equal,
    Unequal,
    And,
    Or,
    Not,
    Open,
    Close,
    End,
}

pub(crate) const fn kconfig(text: &'static str) -> Result<Atom, &'static str> {
    let mut at = 0;
    let mut open = 0_u32;
    // Whether an operand is due, or what may follow one.
    let mut due = true;
    loop {
        let (token, next) = match token(text, at) {
            Ok(found) => found,
            Err(problem) => return Err(problem),
        };
        at = next;
        match (token, due) {
            (Token::Not, true) => {}
            (Token::Open, true) => {
                open += 1;
                if open > 16 {
                    return Err("brackets are nested at most 16 deep");
                }
            }
            (Token::Symbol(_), true) => {
                at = match compared(text, at) {
                    Ok(at) => at,
                    Err(problem) => return Err(problem),
                };
                due = false;
            }
            (Token::And | Token::Or, false) => due = true,
            (Token::Close, false) if open > 0 => open -= 1,
            (Token::Close, false) => return Err("this bracket closes nothing"),
            (Token::End, false) if open == 0 => return Ok(Atom::Kconfig(Kconfig(text))),
            (Token::End, false) => return Err("a bracket is not closed"),
            (_, true) => return Err("expected a symbol, such as \"CONFIG_USER_NS=y\""),
            (_, false) => return Err("expected \"&\" or \"|\" behind a symbol"),
        }
    }
}

/// Goes past the comparison that may follow a symbol.
const fn compared(text: &'static str, at: usize) -> Result<usize, &'static str> {
    match token(text, at) {
        Ok((Token::Equal | Token::Unequal, next)) => match token(text, next) {
            Ok((Token::Value(_), end)) => Ok(end),
            Ok(_) => Err("expected a value, such as \"y\", \"m\", \"n\" or a number"),
            Err(problem) => Err(problem),
        },
        Ok(_) => Ok(at),
        Err(problem) => Err(problem),
    }
}

const fn token(text: &'static str, at: usize) -> Result<(Token, usize), &'static str> {
    let bytes = text.as_bytes();
    let mut at = at;
    while at < bytes.len() && bytes[at] == b' ' {
        at += 1;
    }
    if at == bytes.len() {
        return Ok((Token::End, at));
    }
    Ok(match bytes[at] {
        b'&' => (Token::And, at + 1),
        b'|' => (Token::Or, at + 1),
        b'(' => (Token::Open, at + 1),
        b')' => (Token::Close, at + 1),
        b'=' => (Token::Equal, at + 1),
        b'!' if at + 1 < bytes.len() && bytes[at + 1] == b'=' => (Token::Unequal, at + 2),
        b'!' => (Token::Not, at + 1),
        b'\'' => {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'\'' {
                end += 1;
            }
            if end == bytes.len() {
                return Err("a quote is not closed");
            }
            (Token::Value(cut(text, at + 1, end)), end + 1)
        }
        _ => {
            let mut end = at;
            while end < bytes.len()
                && (bytes[end].is_ascii_alphanumeric()
                    || matches!(bytes[end], b'_' | b'-' | b'.' | b'/' | b'+'))
            {
                end += 1;
            }
            if end == at {
                return Err(
                    "expected symbols such as \"CONFIG_KVM\", joined by & | ! and brackets",
                );
            }
            let word = cut(text, at, end);
            if starts_with(word, "CONFIG_") && word.len() > 7 {
                (Token::Symbol(word), end)
            } else {
                (Token::Value(word), end)
            }
        }
    })
}

impl Kconfig {
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Verdict {
        let mut run = Run {
            text: self.0,
            at: 0,
            asked,
            read: Vec::new(),
            source: Cow::Borrowed("the kernel's configuration"),
            problem: String::new(),
        };
        match run.any() {
            Some(true) => Verdict::met(run.read.join(", "), run.source),
            Some(false) => Verdict::unmet(run.read.join(", "), run.source),
            None => Verdict::undetermined(run.problem, run.source),
        }
    }
}

/// One evaluation, by Kleene's logic: a symbol that cannot be read decides only what hangs on it.
struct Run<'a> {
    text: &'static str,
    at: usize,
    asked: &'a Asked<'a>,
    /// Each symbol as it was read.
    read: Vec<String>,
    source: Cow<'static, str>,
    problem: String,
}

impl Run<'_> {
    fn next(&mut self) -> Token {
        // The text was accepted, so nothing in it is unknown.
        let (token, at) = token(self.text, self.at).unwrap_or((Token::End, self.text.len()));
        self.at = at;
        token
    }

    fn peek(&self) -> Token {
        token(self.text, self.at).map_or(Token::End, |(token, _)| token)
    }

    fn any(&mut self) -> Option<bool> {
        let mut holds = self.all();
        while let Token::Or = self.peek() {
            self.next();
            holds = match (holds, self.all()) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        holds
    }

    fn all(&mut self) -> Option<bool> {
        let mut holds = self.one();
        while let Token::And = self.peek() {
            self.next();
            holds = match (holds, self.one()) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
        }
        holds
    }

    fn one(&mut self) -> Option<bool> {
        match self.next() {
            Token::Not => self.one().map(|holds| !holds),
            Token::Open => {
                let holds = self.any();
                self.next();
                holds
            }
            Token::Symbol(symbol) => self.symbol(symbol),
            _ => None,
        }
    }

    fn symbol(&mut self, symbol: &'static str) -> Option<bool> {
        let equal = match self.peek() {
            Token::Equal => Some(true),
            Token::Unequal => Some(false),
            _ => None,
        };
        let wanted = equal.and_then(|equal| {
            self.next();
            match self.next() {
                Token::Value(value) => Some((equal, value)),
                _ => None,
            }
        });
        let value = self.value(symbol)?;
        Some(match wanted {
            Some((equal, wanted)) => (value == wanted) == equal,
            None => value == "y" || value == "m",
        })
    }

    fn value(&mut self, symbol: &'static str) -> Option<String> {
        let answer = self.asked.host.ask(Question::Kconfig(symbol));
        match &answer.finding {
            Finding::Is(value) => {
                if self.asked.words {
                    self.read.push(match value.as_str() {
                        "n" => format!("{symbol} is not set"),
                        value => format!("{symbol}={value}"),
                    });
                    self.source = answer.source.clone();
                }
                Some(value.trim_matches('"').to_owned())
            }
            Finding::Absent(problem) | Finding::Unknown(problem) => {
                self.problem.clone_from(problem);
                self.source = answer.source.clone();
                None
            }
        }
    }
}

impl fmt::Display for Kconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kconfig {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the grammar, and Kleene's logic over given symbols.

    use proptest::prelude::*;

    use super::*;
    use crate::facts::{Answer, Host};

    struct Symbols;

    impl Host for Symbols {
        fn ask(&self, question: Question) -> Cow<'_, Answer> {
            let finding = match question {
                Question::Kconfig("CONFIG_Y") => Finding::Is("y".into()),
                Question::Kconfig("CONFIG_M") => Finding::Is("m".into()),
                Question::Kconfig("CONFIG_N") => Finding::Is("n".into()),
                Question::Kconfig("CONFIG_HZ") => Finding::Is("250".into()),
                Question::Kconfig("CONFIG_NAME") => Finding::Is("\"a b\"".into()),
                _ => Finding::Unknown("nobody knows".into()),
            };
            Cow::Owned(Answer::new(finding, "config"))
        }
    }

    fn judge(text: &'static str) -> Option<bool> {
        let Atom::Kconfig(kconfig) = kconfig(text).expect(text) else {
            panic!("{text}")
        };
        let verdict = |words| {
            kconfig.judge(&Asked {
                host: &Symbols,
                words,
            })
        };
        let kind = |verdict: Verdict| match verdict {
            Verdict::Met(_) => Some(true),
            Verdict::Unmet(_) => Some(false),
            Verdict::Undetermined(_) => None,
        };
        assert_eq!(kind(verdict(true)), kind(verdict(false)));
        kind(verdict(true))
    }

    #[test]
    fn expressions_hold_or_not() {
        for (text, expected) in [
            ("CONFIG_Y", Some(true)),
            ("CONFIG_M", Some(true)),
            ("CONFIG_N", Some(false)),
            ("CONFIG_Y=y", Some(true)),
            ("CONFIG_M=y", Some(false)),
            ("CONFIG_M != y", Some(true)),
            ("CONFIG_N=n", Some(true)),
            ("CONFIG_HZ=250", Some(true)),
            ("CONFIG_NAME='a b'", Some(true)),
            ("!CONFIG_N", Some(true)),
            ("!!CONFIG_N", Some(false)),
            ("CONFIG_Y & CONFIG_N | CONFIG_Y", Some(true)),
            ("CONFIG_Y & (CONFIG_N | CONFIG_N)", Some(false)),
            ("CONFIG_Y | CONFIG_N & CONFIG_N", Some(true)),
            ("CONFIG_X", None),
            ("CONFIG_X | CONFIG_Y", Some(true)),
            ("CONFIG_X | CONFIG_N", None),
            ("CONFIG_X & CONFIG_N", Some(false)),
            ("CONFIG_X & CONFIG_Y", None),
            ("!CONFIG_X", None),
        ] {
            assert_eq!(judge(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_expressions_are_refused() {
        for text in [
            "",
            " ",
            "KVM",
            "CONFIG_",
            "CONFIG_A CONFIG_B",
            "CONFIG_A &",
            "| CONFIG_A",
            "(CONFIG_A",
            "CONFIG_A)",
            "CONFIG_A=",
            "CONFIG_A==y",
            "CONFIG_A='y",
            "CONFIG_A=CONFIG_B",
            "CONFIG_A, CONFIG_B",
            "()",
            "!",
            "CONFIG_A=y=y",
        ] {
            assert!(kconfig(text).is_err(), "{text}");
        }
        let deep: &'static str = "(".repeat(1000).leak();
        assert!(kconfig(deep).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[CONFIG_A()&|!=y' ]{0,24}|.*") {
            let text: &'static str = text.leak();
            if let Ok(Atom::Kconfig(_)) = kconfig(text) {
                judge(text);
            }
        }
    }
}
