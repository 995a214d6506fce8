//! Writes JSON: objects of texts, numbers and lists of objects.

use std::borrow::Cow;
use std::fmt::Write;

/// An object being written. Keys are ours, and plain.
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn new() -> Self {
        Self {
            text: String::from("{"),
        }
    }

    /// Goes on with an object of which this is the beginning.
    pub(crate) fn of(text: String) -> Self {
        Self { text }
    }

    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        quote(&mut self.text, value);
    }

    pub(crate) fn text_or_null(&mut self, key: &'static str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub(crate) fn number(&mut self, key: &'static str, value: f64) {
        self.raw(key, &number_text(value));
    }

    /// Writes a whole number of any size.
    pub(crate) fn integer(&mut self, key: &'static str, value: u64) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    pub(crate) fn boolean(&mut self, key: &'static str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    /// Writes what is JSON already.
    pub(crate) fn raw(&mut self, key: &'static str, json: &str) {
        self.key(key);
        self.text.push_str(json);
    }

    /// Writes an object of numbers, whose keys can be any text.
    pub(crate) fn numbers(&mut self, key: &'static str, of: &[(String, f64)]) {
        self.key(key);
        self.text.push('{');
        for (name, value) in of {
            self.comma();
            quote(&mut self.text, name);
            self.text.push(':');
            self.text.push_str(&number_text(*value));
        }
        self.text.push('}');
    }

    /// Returns the object as a line.
    pub(crate) fn finish_line(self) -> String {
        self.finish() + "\n"
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn key(&mut self, key: &'static str) {
        self.comma();
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    /// Separates what follows from what stands before it in the same brackets.
    fn comma(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[')) {
            self.text.push(',');
        }
    }
}

/// Returns a number; one that JSON cannot express becomes `null`.
pub(crate) fn number_text(value: f64) -> String {
    // Either form reads back as the same number; without an exponent the extremes are long.
    match value.abs() {
        0.0 | 1e-6..1e16 => format!("{value}"),
        finite if finite.is_finite() => format!("{value:e}"),
        _ => "null".to_owned(),
    }
}

fn quote(to: &mut String, text: &str) {
    to.push('"');
    to.push_str(&escaped(text));
    to.push('"');
}

/// Returns a text in quotes, or `null`.
pub(crate) fn quoted_or_null(text: Option<&str>) -> Cow<'static, str> {
    match text {
        Some(text) => Cow::Owned(format!("\"{}\"", &*escaped(text))),
        None => Cow::Borrowed("null"),
    }
}

/// Returns a text as it stands between quotes.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if is_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    text.chars().for_each(|c| escape(&mut escaped, c));
    Cow::Owned(escaped)
}

/// Whether a text stands for itself in JSON. Almost all do, and tests are compiled without optimization: this
/// loop is several times as fast as one over characters.
fn is_plain(bytes: &[u8]) -> bool {
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        if byte < b' ' || byte == b'"' || byte == b'\\' || byte >= 0x7f {
            return false;
        }
        index += 1;
    }
    true
}

/// U+2028 and U+2029 end a line for some readers of JSON lines.
fn escape(to: &mut String, c: char) {
    match c {
        '"' => to.push_str("\\\""),
        '\\' => to.push_str("\\\\"),
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        '\0'..' ' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
            let _ = write!(to, "\\u{:04x}", u32::from(c));
        }
        c => to.push(c),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: a real JSON parser reads back what was written.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_and_number_is_read_back(text in any::<String>(), number in any::<f64>()) {
            let mut object = Object::new();
            object.text("a", &text);
            object.number("b", number);
            let line = object.finish();
            prop_assert!(!line.contains('\n'));
            let value: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
            prop_assert_eq!(value["a"].as_str(), Some(text.as_str()));
            // serde_json reads the last digit of a float only nearly right by default.
            let read = value["b"].as_f64();
            let expected = number.is_finite().then_some(number);
            prop_assert_eq!(read.is_some(), expected.is_some());
            if let (Some(read), Some(expected)) = (read, expected) {
                prop_assert!((read - expected).abs() <= expected.abs() * 1e-14, "{read} {expected}");
            }
        }
    }
}
