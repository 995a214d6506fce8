//! Reads the keys of one TOML table and collects the problems, so that one error lists all.

use std::collections::BTreeMap;

use toml::{Spanned, Value};

use crate::config::Problem;

/// A table and the problems found so far.
pub(super) struct Keys<'a> {
    text: &'a str,
    table: BTreeMap<String, Spanned<Value>>,
    pub(super) problems: Vec<Problem>,
}

/// The value of a key and its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) key: &'static str,
    /// The line, counted from 1. `None` if the value is not from the file.
    pub(super) line: Option<usize>,
    pub(super) value: T,
}

impl<'a> Keys<'a> {
    /// Wraps a table that was parsed from `text`.
    pub(super) fn new(text: &'a str, table: BTreeMap<String, Spanned<Value>>) -> Self {
        Self {
            text,
            table,
            problems: Vec::new(),
        }
    }

    /// Removes and returns the value of a key. Returns `None` if the key is absent, or if its type is
    /// wrong, which is a problem.
    pub(super) fn take<T: FromToml>(&mut self, key: &'static str) -> Option<At<T>> {
        let found = self.table.get(key)?;
        let line = Some(line_of(self.text, found.span().start));
        let value = found.get_ref();
        match T::from_toml(value) {
            Some(value) => Some(At { key, line, value }),
            None => {
                let message = format!("is of type {}; expected {}", value.type_str(), T::EXPECTED);
                self.problems.push(Problem { line, key, message });
                None
            }
        }
    }

    /// Adds a problem with a value.
    pub(super) fn wrong<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.problems.push(Problem {
            line: at.line,
            key: at.key,
            message: message.into(),
        });
    }

    /// Adds a problem with an absent key.
    pub(super) fn missing(&mut self, key: &'static str, message: impl Into<String>) {
        self.problems.push(Problem {
            line: None,
            key,
            message: message.into(),
        });
    }
}

/// A type that a value can have.
pub(super) trait FromToml: Sized {
    /// Description of the type for messages.
    const EXPECTED: &'static str;

    /// Converts a value of this type.
    fn from_toml(value: &Value) -> Option<Self>;
}

impl FromToml for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for i64 {
    const EXPECTED: &'static str = "an integer";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer()
    }
}

/// A number, rounded up, as Kata's runtimes read `default_vcpus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundedUp(pub(super) i64);

impl FromToml for RoundedUp {
    const EXPECTED: &'static str = "a number";

    fn from_toml(value: &Value) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates; the caller checks the range"
        )]
        let rounded = |number: f64| number.ceil() as i64;
        let whole = value.as_integer();
        whole.or_else(|| value.as_float().map(rounded)).map(Self)
    }
}

impl FromToml for String {
    const EXPECTED: &'static str = "a string";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for Vec<String> {
    const EXPECTED: &'static str = "a list of strings";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_toml).collect()
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}
