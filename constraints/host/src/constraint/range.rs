//! Ranges of versions: `>= 5.10, < 6.9`.

use std::cmp::Ordering;
use std::fmt;

use super::text::{cut, try_const};
use super::version::Version;

/// How a version is compared with the required one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Operator {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

/// How many comparisons a range may have.
const MAX_BOUNDS: usize = 4;

/// Comparisons that must all hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    bounds: [Option<(Operator, Version)>; MAX_BOUNDS],
}

impl Range {
    /// A range of one comparison with a kernel version.
    pub(crate) const fn one(
        operator: Operator,
        version: &'static str,
    ) -> Result<Self, &'static str> {
        let version = try_const!(Version::kernel(version));
        Ok(Self {
            bounds: [Some((operator, version)), None, None, None],
        })
    }

    /// Parses a range of kernel versions, and refuses one that no version satisfies.
    pub(crate) const fn of_kernels(text: &'static str) -> Result<Self, &'static str> {
        match Self::parse(text, true) {
            Ok(range) if span_of(&range, Span::ALL).is_empty() => {
                Err("no kernel version satisfies this range")
            }
            parsed => parsed,
        }
    }

    /// Parses a range of versions made of numbers alone, as commands and distributions have them.
    pub(crate) const fn of_numbers(text: &'static str) -> Result<Self, &'static str> {
        Self::parse(text, false)
    }

    /// Parses the range that may follow a name, which ends at `end`. `after` is the error for anything
    /// else, and `space` the one for space alone.
    pub(crate) const fn after_name(
        text: &'static str,
        end: usize,
        space: &'static str,
        after: &'static str,
    ) -> Result<Option<Self>, &'static str> {
        let rest = cut(text, end, text.len()).trim_ascii();
        match rest.as_bytes() {
            [] if end == text.len() => Ok(None),
            [] => Err(space),
            [b'<' | b'>' | b'=' | b'!', ..] => Ok(Some(try_const!(Self::of_numbers(rest)))),
            _ => Err(after),
        }
    }

    const fn parse(text: &'static str, is_kernel: bool) -> Result<Self, &'static str> {
        let mut bounds = [None; MAX_BOUNDS];
        let mut left = Some(text);
        let mut count = 0;
        while let Some(text) = left {
            if count == MAX_BOUNDS {
                return Err("a range has at most four comparisons");
            }
            let text = text.trim_ascii();
            let bytes = text.as_bytes();
            let (operator, start) = match bytes {
                [b'>', b'=', ..] => (Operator::Ge, 2),
                [b'<', b'=', ..] => (Operator::Le, 2),
                [b'!', b'=', ..] => (Operator::Ne, 2),
                [b'=', b'=', ..] => (Operator::Eq, 2),
                [b'=', ..] => (Operator::Eq, 1),
                [b'>', ..] => (Operator::Gt, 1),
                [b'<', ..] => (Operator::Lt, 1),
                _ => {
                    return Err("expected a comparison, such as \">= 5.10\" or \">= 5.10, < 6.9\"");
                }
            };
            let mut end = start;
            while end < bytes.len() && bytes[end] != b',' {
                end += 1;
            }
            left = if end < bytes.len() {
                Some(cut(text, end + 1, bytes.len()))
            } else {
                None
            };
            let version = cut(text, start, end).trim_ascii();
            let version = if is_kernel {
                Version::kernel(version)
            } else {
                Version::numbers(version)
            };
            bounds[count] = Some((operator, try_const!(version)));
            count += 1;
        }
        Ok(Self { bounds })
    }

    /// Returns whether a version is in the range, given how it compares with a required one; `None`
    /// if that is not comparable.
    pub(crate) fn contains(&self, compare: impl Fn(&Version) -> Option<Ordering>) -> Option<bool> {
        let mut all = Some(true);
        for (operator, version) in self.bounds.iter().flatten() {
            match compare(version).map(|order| operator.holds(order)) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (operator, version)) in self.bounds.iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{operator} {version}")?;
        }
        Ok(())
    }
}

/// The kernel versions, without suffixes, that comparisons leave: from the first up to, and without,
/// the second. An empty span means that no version satisfies them; the reverse need not hold, since
/// suffixes are ignored.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    from: [u64; 4],
    to: [u64; 4],
}

impl Span {
    pub(crate) const ALL: Self = Self {
        from: [0; 4],
        to: [u64::MAX; 4],
    };

    pub(crate) const fn is_empty(&self) -> bool {
        !less(&self.from, &self.to)
    }
}

/// The part of a span that a range of kernel versions leaves.
pub(crate) const fn span_of(range: &Range, span: Span) -> Span {
    let Span { mut from, mut to } = span;
    let mut index = 0;
    while index < MAX_BOUNDS {
        if let Some((operator, version)) = &range.bounds[index] {
            let first = version.numbers;
            let next = version.next();
            // A stated suffix divides the versions with the same numbers, so both sides keep them.
            let (lower, upper) = match operator {
                Operator::Eq => (first, next),
                Operator::Ge => (first, to),
                Operator::Gt if version.is_plain() => (next, to),
                Operator::Gt => (first, to),
                Operator::Le => (from, next),
                Operator::Lt if version.is_plain() => (from, first),
                Operator::Lt => (from, next),
                Operator::Ne => (from, to),
            };
            if less(&from, &lower) {
                from = lower;
            }
            if less(&upper, &to) {
                to = upper;
            }
        }
        index += 1;
    }
    Span { from, to }
}

const fn less(a: &[u64; 4], b: &[u64; 4]) -> bool {
    let mut index = 0;
    while index < a.len() {
        if a[index] < b[index] {
            return true;
        }
        if a[index] > b[index] {
            return false;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    //! Scope: ranges. Comparing versions is tested in `version` and `kernel`.

    use super::*;
    use crate::constraint::kernel::Release;

    fn holds(range: &'static str, running: &str) -> Option<bool> {
        let running = Release::parse(running).expect("a release");
        let range = Range::of_kernels(range).expect("a range");
        range.contains(|version| running.compare(version))
    }

    #[test]
    fn every_comparison_must_hold() {
        assert_eq!(holds(">= 5.10, < 6.9", "6.8.12-generic"), Some(true));
        assert_eq!(holds(">= 5.10, < 6.9", "6.9.0"), Some(false));
        assert_eq!(holds("== 6.1, == 6.1.5", "6.1.5"), Some(true));
        assert_eq!(holds(">=5.10,<6.9,!=6.1", "6.1.55"), Some(false));
        assert_eq!(holds(">= 6.18.44-18, < 7", "6.18.44-fc-v1"), None);
        assert_eq!(
            holds(">= 6.18.44-18, != 6.18.44", "6.18.44-fc-v1"),
            Some(false)
        );
    }

    #[test]
    fn empty_ranges_are_refused_and_full_ones_are_not() {
        for text in [
            ">= 6, < 5",
            "> 6.1, < 6.2",
            "= 6.1, = 6.2",
            "> 6, <= 6.18",
            "< 5, >= 5",
        ] {
            assert!(Range::of_kernels(text).is_err(), "{text}");
        }
        for text in [
            ">= 6.1, <= 6.1",
            "> 6.1, <= 6.2",
            "= 6.1, = 6.1.4",
            ">= 6.8-rc2, < 6.8-rc4",
            "> 6.1.0-18, < 6.1.0-20",
            "!= 6.1",
        ] {
            assert!(Range::of_kernels(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn behind_a_name_comes_a_range_or_nothing() {
        let after = |text| Range::after_name(text, 4, "space", "other");
        assert_eq!(after("qemu"), Ok(None));
        let range = Range::of_numbers(">= 8").map(Some);
        assert_eq!(after("qemu >= 8"), range);
        assert_eq!(after("qemu "), Err("space"));
        assert_eq!(after("qemu -v"), Err("other"));
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in [
            "",
            ">=",
            "6.1",
            ">= 6.1,",
            "=> 6.1",
            ">= 6.1 < 6.2",
            "> 1, > 2, > 3, > 4, > 5",
        ] {
            assert!(Range::of_kernels(text).is_err(), "{text}");
        }
    }
}
