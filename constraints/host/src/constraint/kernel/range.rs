//! Several comparisons that must all hold, and whether any version can keep them.

use std::cmp::Ordering;
use std::fmt;

use super::{Operator, Release, Requirement, compare};
use crate::constraint::operator::{Bound, MOST, bounds};

/// Comparisons of the running kernel that must all hold: `>= 5.10, < 6.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    bounds: [Option<(Operator, Requirement)>; MOST],
}

impl Range {
    /// One comparison.
    ///
    /// # Errors
    ///
    /// Says in words why the text is no version.
    pub const fn one(operator: Operator, version: &'static str) -> Result<Self, &'static str> {
        match Requirement::parse(version) {
            Ok(requirement) => Ok(Self {
                bounds: [Some((operator, requirement)), None, None, None],
            }),
            Err(problem) => Err(problem),
        }
    }

    /// Comparisons with commas between them.
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
            match Requirement::parse(version) {
                Ok(requirement) => bounds[at] = Some((operator, requirement)),
                Err(problem) => return Err(problem),
            }
            at += 1;
        }
        let range = Self { bounds };
        if span_of(&range, Span::ALL).is_empty() {
            return Err("no kernel version is in this range");
        }
        Ok(range)
    }

    /// Says whether a running kernel is in the range; `None` if nobody can say.
    pub(crate) fn holds(&self, running: &Release<'_>) -> Option<bool> {
        let mut all = Some(true);
        for (operator, requirement) in self.bounds.iter().flatten() {
            let holds = compare(running, requirement).map(|order: Ordering| operator.holds(order));
            match holds {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    /// Says whether the range asks for a kernel that is new enough, and for nothing else.
    pub(crate) fn is_minimum(&self) -> bool {
        let newer = |(operator, _): &(Operator, _)| matches!(operator, Operator::Ge | Operator::Gt);
        self.bounds.iter().flatten().all(newer)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (operator, requirement)) in self.bounds.iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{operator} {requirement}")?;
        }
        Ok(())
    }
}

/// The base versions that comparisons leave: from the first up to, and without, the second.
///
/// Suffixes are left out of account, so what is empty here is empty, and what is not may still be.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    from: [u64; 3],
    to: [u64; 3],
}

impl Span {
    pub(crate) const ALL: Self = Self {
        from: [0; 3],
        to: [u64::MAX; 3],
    };

    pub(crate) const fn is_empty(&self) -> bool {
        !less(&self.from, &self.to)
    }
}

/// What a range leaves of a span.
pub(crate) const fn span_of(range: &Range, span: Span) -> Span {
    let Span { mut from, mut to } = span;
    let mut index = 0;
    while index < MOST {
        if let Some((operator, requirement)) = &range.bounds[index] {
            let first = requirement.base;
            let behind = requirement.behind();
            // A stated suffix divides the versions that share the base, so both sides keep it.
            let (lower, upper) = match operator {
                Operator::Eq => (first, behind),
                Operator::Ge => (first, to),
                Operator::Gt if requirement.is_plain() => (behind, to),
                Operator::Gt => (first, to),
                Operator::Le => (from, behind),
                Operator::Lt if requirement.is_plain() => (from, first),
                Operator::Lt => (from, behind),
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

const fn less(a: &[u64; 3], b: &[u64; 3]) -> bool {
    let mut index = 0;
    while index < 3 {
        if a[index] != b[index] {
            return a[index] < b[index];
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    //! Scope: ranges. Single comparisons have their own tests beside `compare`.

    use super::*;

    fn holds(range: &'static str, running: &str) -> Option<bool> {
        let range = Range::parse(range).expect("a range");
        range.holds(&Release::parse(running).expect("a release"))
    }

    #[test]
    fn every_comparison_must_hold() {
        assert_eq!(holds(">= 5.10, < 6.9", "6.8.12-generic"), Some(true));
        assert_eq!(holds(">= 5.10, < 6.9", "6.9.0"), Some(false));
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
            assert!(Range::parse(text).is_err(), "{text}");
        }
        for text in [
            ">= 6.1, <= 6.1",
            "> 6.1, <= 6.2",
            "= 6.1, = 6.1.4",
            ">= 6.8-rc2, < 6.8-rc4",
            "> 6.1.0-18, < 6.1.0-20",
            "!= 6.1",
        ] {
            assert!(Range::parse(text).is_ok(), "{text}");
        }
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
            assert!(Range::parse(text).is_err(), "{text}");
        }
    }
}
