//! Versions of requirements, parsed at compile time.

use std::cmp::Ordering;
use std::fmt;

use super::text::{number, try_const};

/// The most numbers that a version has.
const MAX_NUMBERS: usize = 4;
/// How many of them a kernel version has before its suffix.
const KERNEL_NUMBERS: usize = 3;

/// The version of a requirement: numbers, and for a kernel possibly a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    text: &'static str,
    /// The leading numbers; those that are not stated are 0.
    pub(super) numbers: [u64; MAX_NUMBERS],
    /// How many of them are stated.
    stated: usize,
    /// The `N` of a kernel's `-rcN`.
    pub(super) candidate: Option<u64>,
    /// Where in the text a kernel's suffix begins: `.4` or `-18-amd64`.
    suffix: usize,
}

impl Version {
    /// Parses one to four numbers, as commands and distributions have them.
    pub(crate) const fn numbers(text: &'static str) -> Result<Self, &'static str> {
        match leading(text, Kind::Numbers) {
            Ok(version) if !version.is_plain() => Err(Kind::Numbers.expected()),
            parsed => parsed,
        }
    }

    /// Parses a kernel version: one to three numbers, then further numbers or a suffix.
    pub(crate) const fn kernel(text: &'static str) -> Result<Self, &'static str> {
        let mut version = try_const!(leading(text, Kind::Kernel));
        version.candidate = try_const!(candidate(text.as_bytes(), version.suffix));
        try_const!(check_suffix(text.as_bytes(), version.suffix));
        Ok(version)
    }

    /// Whether the version consists of its leading numbers.
    pub(super) const fn is_plain(&self) -> bool {
        self.suffix == self.text.len()
    }

    /// The first kernel version after all those that equal this one, without suffixes.
    pub(super) const fn next(&self) -> [u64; MAX_NUMBERS] {
        let last = self.precision() - 1;
        let mut next = self.numbers;
        next[last] = next[last].saturating_add(1);
        next
    }

    /// How many numbers of a kernel are compared. A version with a suffix means all three: 6.8-rc4 is the
    /// candidate of 6.8.0.
    pub(super) const fn precision(&self) -> usize {
        if self.is_plain() {
            self.stated
        } else {
            KERNEL_NUMBERS
        }
    }

    /// Returns the text of a kernel version after its numbers.
    pub(super) fn suffix(&self) -> &'static str {
        &self.text[self.suffix..]
    }

    /// Compares an observed version with this one, as far as this one is stated.
    ///
    /// Numbers that the observed version lacks are 0 if `filled`, otherwise it is not comparable:
    /// CentOS Stream's `9` is neither 9.2 nor older.
    pub(crate) fn compare_numbers(&self, observed: &str, filled: bool) -> Option<Ordering> {
        let end = observed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(observed.len());
        let mut observed = observed[..end]
            .split('.')
            .map_while(|part| part.parse::<u64>().ok())
            .peekable();
        observed.peek()?;
        for required in &self.numbers[..self.stated] {
            let observed = match observed.next() {
                Some(observed) => observed,
                None if filled => 0,
                None => return None,
            };
            match observed.cmp(required) {
                Ordering::Equal => {}
                unequal => return Some(unequal),
            }
        }
        Some(Ordering::Equal)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Numbers,
    Kernel,
}

impl Kind {
    const fn expected(self) -> &'static str {
        match self {
            Self::Numbers => {
                "expected a version of one to four numbers, such as \"8\", \"22.04\" or \"1.2.3\""
            }
            Self::Kernel => {
                "expected a kernel version, such as \"6.1\", \"5.10.16\" or \"6.8-rc4\""
            }
        }
    }
}

/// Parses numbers with dots between them, as many as a version of this kind can have.
const fn leading(text: &'static str, kind: Kind) -> Result<Version, &'static str> {
    let bytes = text.as_bytes();
    let most = match kind {
        Kind::Numbers => MAX_NUMBERS,
        Kind::Kernel => KERNEL_NUMBERS,
    };
    let mut version = Version {
        text,
        numbers: [0; MAX_NUMBERS],
        stated: 0,
        candidate: None,
        suffix: 0,
    };
    loop {
        let (number, end) = try_const!(component(bytes, version.suffix, kind));
        version.numbers[version.stated] = number;
        version.stated += 1;
        version.suffix = end;
        if version.stated == most || end == bytes.len() || bytes[end] != b'.' {
            return Ok(version);
        }
        version.suffix += 1;
    }
}

/// Parses the number at this place. Returns it with where it ends.
const fn component(bytes: &[u8], at: usize, kind: Kind) -> Result<(u64, usize), &'static str> {
    match (number(bytes, at), kind) {
        (None, Kind::Numbers) => Err("a number of this version is too large"),
        (None, Kind::Kernel) => Err("a component of this kernel version is too large"),
        (Some((_, end)), kind) if end == at => Err(kind.expected()),
        (Some((_, end)), Kind::Kernel) if bytes[at] == b'0' && end > at + 1 => {
            Err("a component of a kernel version must not have a leading zero")
        }
        (Some(found), _) => Ok(found),
    }
}

/// Parses a `-rcN` at this place. Only the `+` of a kernel that was built from changed sources may
/// follow, which orders nothing.
const fn candidate(bytes: &[u8], at: usize) -> Result<Option<u64>, &'static str> {
    let is_candidate = at + 3 < bytes.len()
        && bytes[at] == b'-'
        && bytes[at + 1] == b'r'
        && bytes[at + 2] == b'c'
        && bytes[at + 3].is_ascii_digit();
    if !is_candidate {
        return Ok(None);
    }
    let (value, end) = try_const!(component(bytes, at + 3, Kind::Kernel));
    if end == bytes.len() || end + 1 == bytes.len() && bytes[end] == b'+' {
        Ok(Some(value))
    } else {
        Err("nothing may follow the -rcN of a kernel version")
    }
}

/// Checks what follows the numbers: further numbers after dots, then a suffix after a `-`.
const fn check_suffix(bytes: &[u8], start: usize) -> Result<(), &'static str> {
    let mut at = start;
    while at < bytes.len() && bytes[at] == b'.' {
        (_, at) = try_const!(component(bytes, at + 1, Kind::Kernel));
    }
    if at == bytes.len() {
        return Ok(());
    }
    if bytes[at] != b'-' {
        return Err(
            "expected \".\" and a number, or \"-\" and a suffix, after the components of a kernel version",
        );
    }
    if at + 1 == bytes.len() {
        return Err("this kernel version ends in \"-\"");
    }
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'.' | b'_' | b'+')) {
            return Err("the suffix of a kernel version may contain letters, digits and -._+ only");
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Scope: versions of numbers alone. Kernel versions are tested in `kernel`.

    use proptest::prelude::*;

    use crate::constraint::range::Range;

    fn holds(range: &'static str, version: &str, filled: bool) -> Option<bool> {
        let range = Range::of_numbers(range).expect(range);
        range.contains(|required| required.compare_numbers(version, filled))
    }

    #[test]
    fn numbers_are_not_fractions() {
        for (range, version, expected) in [
            (">= 22.4", "22.04", Some(true)),
            (">= 22.04", "22.04", Some(true)),
            ("> 22.9", "22.10", Some(true)),
            (">= 9.2", "9", None),
            (">= 9.2", "10", Some(true)),
            (">= 9.2", "8", Some(false)),
            ("= 9", "9.4", Some(true)),
            ("> 9", "9.4", Some(false)),
            ("!= 9", "10.1", Some(true)),
            (">= 22.04, < 24", "24.04", Some(false)),
            (">= 1", "rolling", None),
            (">= 1", "", None),
            (">= 15.6", "15.6-beta", Some(true)),
        ] {
            assert_eq!(holds(range, version, false), expected, "{version} {range}");
        }
        assert_eq!(holds(">= 9.2", "9", true), Some(false));
        assert_eq!(holds(">= 9.0", "9", true), Some(true));
    }

    #[test]
    fn malformed_versions_are_refused() {
        for text in [
            "",
            "8.0",
            ">=",
            ">= 8.",
            ">= .8",
            ">= 8.0-rc1",
            ">= 1.2.3.4.5",
            ">= x",
            ">= 99999999999999999999",
            ">= 8 < 9",
        ] {
            assert!(Range::of_numbers(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Exactly one of less, equal, greater and undetermined; monotone in the running version.
        #[test]
        fn laws(a in any::<(u8, u8)>(), b in any::<(u8, u8)>(), required in any::<(u8, u8)>()) {
            let (older, newer) = if a <= b { (a, b) } else { (b, a) };
            let text = |(x, y): (u8, u8)| format!("{x}.{y}");
            let range = |operator| -> &'static str {
                Box::leak(format!("{operator} {}", text(required)).into_boxed_str())
            };
            let held = ["<", "=", ">"].map(|operator| holds(range(operator), &text(a), false));
            prop_assert_eq!(held.iter().filter(|held| **held == Some(true)).count(), 1);
            if holds(range(">="), &text(older), false) == Some(true) {
                prop_assert_eq!(holds(range(">="), &text(newer), false), Some(true));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>(), version in any::<String>()) {
            let text: &'static str = Box::leak(text.into_boxed_str());
            if let Ok(range) = Range::of_numbers(text) {
                let _ = range.contains(|required| required.compare_numbers(&version, true));
            }
        }
    }
}
