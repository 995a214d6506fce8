//! Lists of host CPUs in the format of the kernel, such as `0,2-3`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest CPU number in the C library's `cpu_set_t` (`CPU_SETSIZE - 1`).
const MAX_CPU: usize = 1023;

/// Host CPUs that a thread may run on, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(BTreeSet<usize>);

/// Why a CPU list is invalid.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum InvalidCpuList {
    /// The list is empty.
    #[error("no CPU is listed")]
    Empty,
    /// An item is neither a number nor a range.
    #[error("`{0}` is neither a CPU number nor a range such as 2-3")]
    Part(String),
    /// A CPU number is too high.
    #[error("CPU {0} is out of range; the highest is {MAX_CPU}")]
    OutOfRange(usize),
}

impl CpuList {
    /// Returns the CPUs, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

impl FromStr for CpuList {
    type Err = InvalidCpuList;

    fn from_str(text: &str) -> Result<Self, InvalidCpuList> {
        let mut cpus = BTreeSet::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let bad = || InvalidCpuList::Part(part.to_owned());
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| bad());
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(bad());
            }
            if last > MAX_CPU {
                return Err(InvalidCpuList::OutOfRange(last));
            }
            cpus.extend(first..=last);
        }
        if cpus.is_empty() {
            Err(InvalidCpuList::Empty)
        } else {
            Ok(Self(cpus))
        }
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.iter().map(|cpu| cpu.to_string()).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_ranges_are_parsed() {
        let list: CpuList = "5, 0-2,1".parse().unwrap();
        assert_eq!(list.to_string(), "0,1,2,5");
        for (text, error) in [
            ("", "no CPU is listed"),
            (
                "3-1",
                "`3-1` is neither a CPU number nor a range such as 2-3",
            ),
            ("1,x", "`x` is neither a CPU number nor a range such as 2-3"),
            ("0-4096", "CPU 4096 is out of range; the highest is 1023"),
        ] {
            assert_eq!(text.parse::<CpuList>().unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(text in "[0-9,-]{0,12}") {
            if let Ok(list) = text.parse::<CpuList>() {
                prop_assert_eq!(list.to_string().parse(), Ok(list));
            }
        }
    }
}
