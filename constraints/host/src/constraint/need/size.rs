//! Amounts: of memory, of disk, of CPUs.

use std::fmt;

use crate::constraint::asked::Asked;
use crate::constraint::text::{cut, same, trim};
use crate::facts::Question;
use crate::verdict::Verdict;

/// An amount of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    text: &'static str,
    bytes: u64,
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

impl Size {
    pub(crate) const fn parse(text: &'static str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected a size in KiB, MiB, GiB or TiB, such as \"512MiB\" or \"2GiB\"";
        let bytes = text.as_bytes();
        let mut value: u64 = 0;
        let mut at = 0;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            value = match value.checked_mul(10) {
                Some(value) => value,
                None => return Err("this size is too large"),
            };
            value = match value.checked_add((bytes[at] - b'0') as u64) {
                Some(value) => value,
                None => return Err("this size is too large"),
            };
            at += 1;
        }
        if at == 0 {
            return Err(EXPECTED);
        }
        let unit = trim(cut(text, at, bytes.len()));
        let mut index = 0;
        while index < UNITS.len() {
            if same(unit, UNITS[index].0) {
                return match value.checked_mul(1 << UNITS[index].1) {
                    Some(0) => Err("a size of nothing is always there"),
                    Some(bytes) => Ok(Self { text, bytes }),
                    None => Err("this size is too large"),
                };
            }
            index += 1;
        }
        Err(EXPECTED)
    }

    /// Judges an answer that is a number of bytes.
    pub(crate) fn judge(&self, question: Question, asked: &Asked<'_>) -> Verdict {
        asked.judge(question, |seen| match seen.text.parse::<u64>() {
            Ok(bytes) => seen.is(bytes >= self.bytes, || {
                format!("there is {}", amount(bytes))
            }),
            Err(_) => seen.undetermined(|| format!("{:?} is no number of bytes", seen.text)),
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Bytes in the largest unit of which there is a whole one.
fn amount(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0);
    match unit {
        Some((name, shift)) => {
            let tenths = bytes.saturating_mul(10) >> shift;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// Judges an answer that is a number.
pub(crate) fn judge_count(least: u32, question: Question, asked: &Asked<'_>) -> Verdict {
    asked.judge(question, |seen| match seen.text.parse::<u64>() {
        Ok(count) => seen.is(count >= u64::from(least), || match count {
            1 => "this process may use 1 CPU".to_owned(),
            count => format!("this process may use {count} CPUs"),
        }),
        Err(_) => seen.undetermined(|| format!("{:?} is no number", seen.text)),
    })
}

#[cfg(test)]
mod tests {
    //! Scope: sizes as texts.

    use super::*;

    #[test]
    fn sizes_have_units() {
        let bytes = |text| Size::parse(text).map(|size| size.bytes);
        assert_eq!(bytes("1KiB"), Ok(1024));
        assert_eq!(bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for text in [
            "",
            "2",
            "2GB",
            "2gib",
            "GiB",
            "-1GiB",
            "1.5GiB",
            "0GiB",
            "99999999999TiB",
            "2 GiB x",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_for_people() {
        assert_eq!(amount(900), "900 bytes");
        assert_eq!(amount(1536), "1.5 KiB");
        assert_eq!(amount(3 << 30), "3.0 GiB");
    }
}
