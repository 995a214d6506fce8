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
    a.len() == b.len() && starts_with(a, b)
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

/// A closed list of names.
pub(crate) struct Closed {
    pub(crate) names: &'static [&'static str],
    /// For each name the error that suggests it.
    pub(crate) meant: &'static [&'static str],
    /// The error for a name that is similar to none.
    pub(crate) unknown: &'static str,
}

impl Closed {
    /// Accepts a name of the list, and returns its index.
    pub(crate) const fn index(&self, name: &str) -> Result<usize, &'static str> {
        match position(name, self.names) {
            Some(index) => Ok(index),
            None => match super::suggest::nearest(name, self.names) {
                Some(index) => Err(self.meant[index]),
                None => Err(self.unknown),
            },
        }
    }

    /// Accepts a name of the list.
    pub(crate) const fn accept(&self, name: &str) -> Result<&'static str, &'static str> {
        match self.index(name) {
            Ok(index) => Ok(self.names[index]),
            Err(problem) => Err(problem),
        }
    }
}

/// Accepts a word of letters, digits and these characters. `problem` is the error for another text.
pub(crate) const fn word(
    text: &'static str,
    others: &[u8],
    problem: &'static str,
) -> Result<&'static str, &'static str> {
    match is_word(text, others) {
        true => Ok(text),
        false => Err(problem),
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

/// A closed list of these names.
macro_rules! names {
    ($what:literal, $unknown:literal: $($name:literal)+) => {
        $crate::constraint::text::Closed {
            names: &[$($name),+],
            meant: &[$(concat!("unknown ", $what, "; did you mean \"", $name, "\"?")),+],
            unknown: $unknown,
        }
    };
}
pub(crate) use names;
