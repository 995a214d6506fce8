//! The keys of one TOML table, taken one by one. What is wrong with one of them is noted, and the
//! next is taken: so one error lists it all.

use std::collections::BTreeMap;

use toml::{Spanned, Value};

use crate::config::Problem;

/// A table and what is wrong with it so far.
pub(super) struct Keys<'a> {
    text: &'a str,
    table: BTreeMap<String, Spanned<Value>>,
    pub(super) problems: Vec<Problem>,
}

/// A key's value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) key: &'static str,
    /// From 1. `None`: not in the file.
    pub(super) line: Option<usize>,
    pub(super) value: T,
}

impl<'a> Keys<'a> {
    /// Takes the table that was read from this text.
    pub(super) fn new(text: &'a str, table: BTreeMap<String, Spanned<Value>>) -> Self {
        Self {
            text,
            table,
            problems: Vec::new(),
        }
    }

    /// Returns a key's value. `None` if it is not there, or of another type, which is noted.
    pub(super) fn take<T: FromToml>(&mut self, key: &'static str) -> Option<At<T>> {
        let found = self.table.get(key)?;
        let line = Some(line_of(self.text, found.span().start));
        let value = found.get_ref();
        match T::from_toml(value) {
            Some(value) => Some(At { key, line, value }),
            None => {
                let message = format!("is of type {}; it takes {}", value.type_str(), T::TAKES);
                self.problems.push(Problem { line, key, message });
                None
            }
        }
    }

    /// Notes what is wrong with a value.
    pub(super) fn wrong<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.problems.push(Problem {
            line: at.line,
            key: at.key,
            message: message.into(),
        });
    }

    /// Notes what is wrong with a key that is not there.
    pub(super) fn missing(&mut self, key: &'static str, message: impl Into<String>) {
        self.problems.push(Problem {
            line: None,
            key,
            message: message.into(),
        });
    }
}

/// What a key's value can be.
pub(super) trait FromToml: Sized {
    /// What it takes, for a person.
    const TAKES: &'static str;

    /// Reads it, if it is of this type.
    fn from_toml(value: &Value) -> Option<Self>;
}

impl FromToml for bool {
    const TAKES: &'static str = "true or false";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for i64 {
    const TAKES: &'static str = "a whole number";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer()
    }
}

/// A number, and its fraction rounded up: Kata's runtimes read `default_vcpus` so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundedUp(pub(super) i64);

impl FromToml for RoundedUp {
    const TAKES: &'static str = "a number";

    fn from_toml(value: &Value) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, and is checked by whoever takes it"
        )]
        let rounded = |number: f64| number.ceil() as i64;
        let whole = value.as_integer();
        whole.or_else(|| value.as_float().map(rounded)).map(Self)
    }
}

impl FromToml for String {
    const TAKES: &'static str = "a text";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for Vec<String> {
    const TAKES: &'static str = "a list of texts";

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_toml).collect()
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}
