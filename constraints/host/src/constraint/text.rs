//! Functions on texts at compile time.

/// Returns the bytes from `start` to `end` of a text, both on the border of a character.
pub(crate) const fn cut(text: &'static str, start: usize, end: usize) -> &'static str {
    let (before_end, _) = text.as_bytes().split_at(end);
    let (_, piece) = before_end.split_at(start);
    match std::str::from_utf8(piece) {
        Ok(piece) => piece,
        Err(_) => panic!("a character is cut"),
    }
}

/// Returns the text without ASCII white space around it.
pub(crate) const fn trim(text: &'static str) -> &'static str {
    text.trim_ascii()
}

/// Returns the decimal number at an index, and the index of its end, which is the same if there is no digit.
/// `None` if the number is too large.
pub(crate) const fn number(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut at = start;
    let mut value: u64 = 0;
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = match value.checked_mul(10) {
            Some(value) => value,
            None => return None,
        };
        value = match value.checked_add((bytes[at] - b'0') as u64) {
            Some(value) => value,
            None => return None,
        };
        at += 1;
    }
    Some((value, at))
}

/// Returns whether two texts are the same.
pub(crate) const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Returns the index of a name in a list.
pub(crate) const fn position(name: &str, names: &[&str]) -> Option<usize> {
    let mut index = 0;
    while index < names.len() {
        if same(name, names[index]) {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// Returns whether a text begins with another.
pub(crate) const fn starts_with(text: &str, start: &str) -> bool {
    let (text, start) = (text.as_bytes(), start.as_bytes());
    if text.len() < start.len() {
        return false;
    }
    let mut index = 0;
    while index < start.len() {
        if text[index] != start[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Returns whether a text has letters, digits and the given characters only, and at least one.
pub(crate) const fn is_word(text: &str, others: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let mut known = bytes[index].is_ascii_alphanumeric();
        let mut other = 0;
        while other < others.len() {
            known |= bytes[index] == others[other];
            other += 1;
        }
        if !known {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty()
}

/// Accepts a name of a closed list. The error for a similar name is the message at the same index.
pub(crate) const fn one_of(
    name: &'static str,
    names: &[&'static str],
    meant: &[&'static str],
    unknown: &'static str,
) -> Result<&'static str, &'static str> {
    match position(name, names) {
        Some(index) => Ok(names[index]),
        None => match super::suggest::nearest(name, names) {
            Some(index) => Err(meant[index]),
            None => Err(unknown),
        },
    }
}

/// `?`, which constant functions do not have.
macro_rules! try_const {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(problem) => return Err(problem),
        }
    };
}
pub(crate) use try_const;

/// Declares two lists: names, and for each one a message that suggests it.
macro_rules! names {
    ($names:ident, $meant:ident, $what:literal: $($name:literal)+) => {
        pub(crate) const $names: &[&str] = &[$($name),+];
        const $meant: &[&str] = &[
            $(concat!("unknown ", $what, "; did you mean \"", $name, "\"?")),+
        ];
    };
}
pub(crate) use names;
