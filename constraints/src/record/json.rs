//! Writing JSON, as much as records and lists need: texts, numbers, and objects of them.

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

    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        quote(&mut self.text, value);
    }

    pub(crate) fn text_or_null(&mut self, key: &'static str, value: Option<&str>) {
        self.key(key);
        quote_or_null(&mut self.text, value);
    }

    pub(crate) fn number(&mut self, key: &'static str, value: f64) {
        self.key(key);
        number(&mut self.text, value);
    }

    /// Writes a whole number, whatever its size.
    pub(crate) fn integer(&mut self, key: &'static str, value: u64) {
        self.key(key);
        integer(&mut self.text, value);
    }

    pub(crate) fn boolean(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.text.push_str(if value { "true" } else { "false" });
    }

    pub(crate) fn objects<T>(&mut self, key: &'static str, of: &[T], fill: impl Fn(&mut Self, &T)) {
        self.key(key);
        self.text.push('[');
        for item in of {
            self.comma();
            self.text.push('{');
            fill(self, item);
            self.text.push('}');
        }
        self.text.push(']');
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

/// Writes a number; one that JSON cannot express becomes `null`.
pub(super) fn number(to: &mut String, value: f64) {
    // Either form reads back as the same number; without an exponent the extremes are long.
    let _ = match value.abs() {
        0.0 | 1e-6..1e16 => write!(to, "{value}"),
        finite if finite.is_finite() => write!(to, "{value:e}"),
        _ => write!(to, "null"),
    };
}

pub(super) fn integer(to: &mut String, value: u64) {
    let _ = write!(to, "{value}");
}

pub(super) fn quote_or_null(to: &mut String, text: Option<&str>) {
    match text {
        Some(text) => quote(to, text),
        None => to.push_str("null"),
    }
}

pub(super) fn quote(to: &mut String, text: &str) {
    to.push('"');
    let mut rest = text;
    while let Some((at, special)) = special_in(rest) {
        to.push_str(&rest[..at]);
        escape(to, special);
        rest = &rest[at + special.len_utf8()..];
    }
    to.push_str(rest);
    to.push('"');
}

/// The bytes that stand in a text as they are, and are characters by themselves.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// The first character that cannot stand in a text as it is. Nearly every text is plain, and a list
/// has thousands: that is found out by a loop over bytes, which is fast without optimisation too.
fn special_in(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() && PLAIN[bytes[index] as usize] {
        index += 1;
    }
    if index == bytes.len() {
        return None;
    }
    // What is left begins with a whole character: all before it are of one byte.
    let (plain, rest) = text.split_at(index);
    let mut found = rest.char_indices().filter(|(_, c)| is_special(*c));
    found.next().map(|(at, c)| (plain.len() + at, c))
}

/// U+2028 and U+2029 end a line for some readers of JSON lines.
fn is_special(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\\' | '\u{7f}' | '\u{2028}' | '\u{2029}')
}

fn escape(to: &mut String, special: char) {
    match special {
        '"' => to.push_str("\\\""),
        '\\' => to.push_str("\\\\"),
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        c => {
            let _ = write!(to, "\\u{:04x}", u32::from(c));
        }
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
