//! The version that a test states, parsed while the test is being compiled.

use std::fmt;

/// A kernel version as a requirement states it: one to three components, then possibly more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    text: &'static str,
    /// Major, minor, patch; what is not stated is 0.
    pub(super) base: [u64; 3],
    /// How many of these are stated.
    pub(super) stated: usize,
    /// The number of a release candidate.
    pub(super) candidate: Option<u64>,
    /// Where in the text the rest begins: `.4` or `-18-amd64`.
    rest: usize,
}

impl Requirement {
    /// Parses a requirement.
    ///
    /// # Panics
    ///
    /// If the text is no version, which in an attribute is a compile error.
    #[track_caller]
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        match Self::parse(text) {
            Ok(requirement) => requirement,
            Err(problem) => panic!("{}", problem),
        }
    }

    /// Parses a requirement, saying what is wrong with it.
    ///
    /// # Errors
    ///
    /// A phrase that names the problem and an example.
    pub const fn parse(text: &'static str) -> Result<Self, &'static str> {
        let bytes = text.as_bytes();
        let mut base = [0; 3];
        let mut stated = 0;
        let mut at = 0;
        loop {
            let (number, end) = match number(bytes, at) {
                Ok(found) => found,
                Err(problem) => return Err(problem),
            };
            base[stated] = number;
            stated += 1;
            at = end;
            if stated == 3 || at == bytes.len() || bytes[at] != b'.' {
                break;
            }
            at += 1;
        }
        let candidate = match candidate(bytes, at) {
            Ok(candidate) => candidate,
            Err(problem) => return Err(problem),
        };
        if let Err(problem) = check_rest(bytes, at) {
            return Err(problem);
        }
        Ok(Self {
            text,
            base,
            stated,
            candidate,
            rest: at,
        })
    }

    /// Says whether the requirement states components only.
    pub(super) const fn is_plain(&self) -> bool {
        self.rest == self.text.len()
    }

    /// The first base version behind all those that equal this one.
    pub(super) const fn behind(&self) -> [u64; 3] {
        // A requirement that goes on behind its components means all three of them.
        let stated = if self.is_plain() { self.stated } else { 3 };
        let mut behind = self.base;
        behind[stated - 1] = behind[stated - 1].saturating_add(1);
        behind
    }

    /// What the requirement states beyond the three components.
    pub(super) fn rest(&self) -> &'static str {
        &self.text[self.rest..]
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A number at this place, and where it ends.
const fn number(bytes: &[u8], start: usize) -> Result<(u64, usize), &'static str> {
    let mut at = start;
    let mut value: u64 = 0;
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = match value.checked_mul(10) {
            Some(value) => value,
            None => return Err("a component of this kernel version is too large"),
        };
        value = match value.checked_add((bytes[at] - b'0') as u64) {
            Some(value) => value,
            None => return Err("a component of this kernel version is too large"),
        };
        at += 1;
    }
    if at == start {
        return Err("expected a kernel version, such as \"6.1\", \"5.10.16\" or \"6.8-rc4\"");
    }
    if bytes[start] == b'0' && at > start + 1 {
        return Err("a component of a kernel version has no leading zero");
    }
    Ok((value, at))
}

/// The `N` of a `-rcN` at this place. Behind it nothing may stand but the `+` by which a kernel says
/// that it was built from changed sources, and which orders nothing.
const fn candidate(bytes: &[u8], at: usize) -> Result<Option<u64>, &'static str> {
    let is_candidate = at + 3 < bytes.len()
        && bytes[at] == b'-'
        && bytes[at + 1] == b'r'
        && bytes[at + 2] == b'c'
        && bytes[at + 3].is_ascii_digit();
    if !is_candidate {
        return Ok(None);
    }
    match number(bytes, at + 3) {
        Ok((value, end)) if end == bytes.len() => Ok(Some(value)),
        Ok((value, end)) if end + 1 == bytes.len() && bytes[end] == b'+' => Ok(Some(value)),
        Ok(_) => Err("nothing may follow the -rcN of a kernel version"),
        Err(problem) => Err(problem),
    }
}

/// What follows the components: further numbers after dots, or a distribution's suffix after a `-`.
const fn check_rest(bytes: &[u8], start: usize) -> Result<(), &'static str> {
    let mut at = start;
    while at < bytes.len() && bytes[at] == b'.' {
        at = match number(bytes, at + 1) {
            Ok((_, end)) => end,
            Err(problem) => return Err(problem),
        };
    }
    if at == bytes.len() {
        return Ok(());
    }
    if bytes[at] != b'-' {
        return Err("a kernel version goes on with \".\" and a number, or with \"-\" and a suffix");
    }
    if at + 1 == bytes.len() {
        return Err("this kernel version ends in \"-\"");
    }
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'.' | b'_' | b'+')) {
            return Err("the suffix of a kernel version has letters, digits, and -._+ only");
        }
        at += 1;
    }
    Ok(())
}
