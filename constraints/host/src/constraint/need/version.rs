//! Versions made of numbers, as commands and distributions have them: `>= 22.04, < 24`.

use std::cmp::Ordering;
use std::fmt;

use crate::constraint::operator::{Bound, MOST, Operator, bounds};

/// How many numbers a version may have.
const PARTS: usize = 4;

/// Comparisons of a version that must all hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    bounds: [Option<(Operator, Numbers)>; MOST],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    text: &'static str,
    parts: [u64; PARTS],
    stated: usize,
}

impl Versions {
    pub(crate) const fn parse(text: &'static str) -> Result<Self, &'static str> {
        let given = match bounds(text) {
            Ok(given) => given,
            Err(problem) => return Err(problem),
        };
        let mut bounds = [None; MOST];
        let mut at = 0;
        while at < MOST {
            let Some(Bound { operator, version }) = given[at] else {
                break;
            };
            match numbers(version) {
                Ok(numbers) => bounds[at] = Some((operator, numbers)),
                Err(problem) => return Err(problem),
            }
            at += 1;
        }
        Ok(Self { bounds })
    }

    /// Says whether a version is in the range; `None` if it says too little to tell.
    ///
    /// The requirement sets the precision. What the version does not state is zero if `filled`;
    /// otherwise it is open: CentOS Stream's `9` is neither 9.2 nor older.
    pub(crate) fn holds(&self, version: &str, filled: bool) -> Option<bool> {
        let running = leading(version)?;
        let mut all = Some(true);
        for (operator, required) in self.bounds.iter().flatten() {
            match required
                .compare(&running, filled)
                .map(|order| operator.holds(order))
            {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }
}

impl Numbers {
    /// How a running version compares with this one.
    fn compare(&self, running: &[u64], filled: bool) -> Option<Ordering> {
        for (index, required) in self.parts[..self.stated].iter().enumerate() {
            let running = match running.get(index) {
                Some(running) => *running,
                None if filled => 0,
                None => return None,
            };
            match running.cmp(required) {
                Ordering::Equal => {}
                unequal => return Some(unequal),
            }
        }
        Some(Ordering::Equal)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (operator, numbers)) in self.bounds.iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{operator} {}", numbers.text)?;
        }
        Ok(())
    }
}

/// The numbers that open a version, `None` if it opens otherwise.
fn leading(version: &str) -> Option<Vec<u64>> {
    let end = version
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(version.len());
    let parts = version[..end]
        .split('.')
        .map_while(|part| part.parse().ok());
    Some(parts.collect()).filter(|parts: &Vec<u64>| !parts.is_empty())
}

const fn numbers(text: &'static str) -> Result<Numbers, &'static str> {
    const EXPECTED: &str =
        "expected a version of one to four numbers, such as \"8\", \"22.04\" or \"1.2.3\"";
    let bytes = text.as_bytes();
    let mut parts = [0_u64; PARTS];
    let mut stated = 0;
    let mut at = 0;
    loop {
        let start = at;
        let mut value: u64 = 0;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            value = match value.checked_mul(10) {
                Some(value) => value,
                None => return Err("a number of this version is too large"),
            };
            value = match value.checked_add((bytes[at] - b'0') as u64) {
                Some(value) => value,
                None => return Err("a number of this version is too large"),
            };
            at += 1;
        }
        if at == start || stated == PARTS {
            return Err(EXPECTED);
        }
        parts[stated] = value;
        stated += 1;
        if at == bytes.len() {
            return Ok(Numbers {
                text,
                parts,
                stated,
            });
        }
        if bytes[at] != b'.' {
            return Err(EXPECTED);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    //! Scope: comparing numbers, and the laws that hold for any.

    use proptest::prelude::*;

    use super::*;

    fn holds(range: &'static str, version: &str, filled: bool) -> Option<bool> {
        Versions::parse(range).expect(range).holds(version, filled)
    }

    #[test]
    fn numbers_are_no_fractions() {
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
            assert!(Versions::parse(text).is_err(), "{text}");
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
            if let Ok(range) = Versions::parse(text) {
                let _ = range.holds(&version, true);
            }
        }
    }
}
