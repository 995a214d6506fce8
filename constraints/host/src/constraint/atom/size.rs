//! Amounts: of memory, of disk, of CPUs, of NUMA nodes.

use std::fmt;

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{cut, number, same, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

/// An amount of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    text: &'static str,
    bytes: u64,
}

pub(crate) const fn mem_available(size: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::MemAvailableGe(try_const!(Size::parse(size))))
}

pub(crate) const fn disk_free(size: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::DiskFreeGe(try_const!(Size::parse(size))))
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

impl Size {
    pub(crate) const fn parse(text: &'static str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected a size in KiB, MiB, GiB or TiB, such as \"512MiB\" or \"2GiB\"";
        let bytes = text.as_bytes();
        let (value, at) = match number(bytes, 0) {
            Some((_, 0)) => return Err(EXPECTED),
            Some(found) => found,
            None => return Err("this size is too large"),
        };
        let unit = cut(text, at, bytes.len()).trim_ascii();
        let mut index = 0;
        while index < UNITS.len() {
            if same(unit, UNITS[index].0) {
                return match value.checked_mul(1 << UNITS[index].1) {
                    Some(0) => Err("a size of 0 is always satisfied"),
                    Some(bytes) => Ok(Self { text, bytes }),
                    None => Err("this size is too large"),
                };
            }
            index += 1;
        }
        Err(EXPECTED)
    }

    pub(crate) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Decides by an answer that is a number of bytes.
    pub(crate) fn decide(&self, question: Question, evaluator: &Evaluator<'_>) -> Verdict {
        evaluator.decide(question, &|seen| match seen.text.parse::<u64>() {
            Ok(bytes) => seen.met_if(bytes >= self.bytes, &|| {
                format!("{} available", amount(bytes))
            }),
            Err(_) => seen.undetermined(&|| format!("{:?} is not a number of bytes", seen.text)),
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Formats bytes in the largest unit that is not larger.
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

/// Decides by an answer that is a number.
pub(crate) fn decide_count(
    least: u32,
    question: Question,
    evaluator: &Evaluator<'_>,
    observed: fn(u64) -> String,
) -> Verdict {
    evaluator.decide(question, &|seen| match seen.text.parse::<u64>() {
        Ok(count) => seen.met_if(count >= u64::from(least), &|| observed(count)),
        Err(_) => seen.undetermined(&|| format!("{:?} is not a number", seen.text)),
    })
}

#[cfg(test)]
mod tests {
    //! Scope: sizes as texts.

    use super::*;

    #[test]
    fn sizes_need_a_unit() {
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
    fn amounts_have_the_largest_unit() {
        assert_eq!(amount(900), "900 bytes");
        assert_eq!(amount(1536), "1.5 KiB");
        assert_eq!(amount(3 << 30), "3.0 GiB");
    }
}
