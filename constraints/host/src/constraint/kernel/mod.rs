//! Kernel versions: the requirement sets the precision.
//!
//! `kernel_ge = "6.1"` compares two numbers of the running kernel and ignores the third one and a
//! distribution's suffix. A suffix counts only if the requirement states one. By Semver's rule,
//! `6.1.0-18-amd64` would be a pre-release, older than `6.1.0`, which is wrong for kernels.

use std::cmp::Ordering;

use super::evaluator::Observation;
use super::range::Range;
use super::text::number;
use super::version::Version;
use crate::verdict::Verdict;

/// Decides whether the release of the running kernel is in a range.
pub(crate) fn release_in(range: &Range, seen: &Observation<'_>) -> Verdict {
    let release = seen.text;
    let Some(running) = Release::parse(release) else {
        return seen
            .undetermined(&|| format!("kernel release {release:?} does not begin with a version"));
    };
    seen.met_if_known(
        range.contains(|version| running.compare(version)),
        &|| format!("kernel is {release}"),
        &|| {
            format!("the suffix of kernel {release} is not comparable with that of the requirement")
        },
    )
}

/// A kernel's release as uname(2) returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Release<'a> {
    /// Major, minor, patch; a missing patch level is 0.
    numbers: [u64; 3],
    /// The `N` of a `-rcN`.
    candidate: Option<u64>,
    /// All that follows the numbers.
    suffix: &'a str,
}

impl<'a> Release<'a> {
    /// Parses a release; `None` if it does not begin with two numbers.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (major, rest) = leading(text)?;
        let (minor, rest) = leading(rest.strip_prefix('.')?)?;
        let patch = rest.strip_prefix('.').and_then(leading);
        let (patch, suffix) = patch.unwrap_or((0, rest));
        let candidate = suffix.strip_prefix("-rc").and_then(leading);
        Some(Self {
            numbers: [major, minor, patch],
            candidate: candidate.map(|(number, _)| number),
            suffix,
        })
    }

    /// Compares with a required version as far as that is stated; `None` where the suffixes of two
    /// vendors are not comparable.
    pub(crate) fn compare(&self, required: &Version) -> Option<Ordering> {
        let precision = required.precision();
        match self.numbers[..precision].cmp(&required.numbers[..precision]) {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
        if let Some(candidate) = required.candidate {
            // A release is newer than all of its candidates.
            return Some(self.candidate.unwrap_or(u64::MAX).cmp(&candidate));
        }
        compare_rest(self.suffix, required.suffix())
    }
}

/// The leading number, and what follows it.
fn leading(text: &str) -> Option<(u64, &str)> {
    let (value, end) = number(text.as_bytes(), 0)?;
    (end > 0).then(|| (value, &text[end..]))
}

/// Compares further components, then the suffix, as far as the requirement states them.
fn compare_rest(running: &str, required: &str) -> Option<Ordering> {
    let (running_dots, running) = dotted(running);
    let (required_dots, required) = dotted(required);
    for (index, required) in required_dots.iter().enumerate() {
        let running = running_dots.get(index).copied().unwrap_or("0");
        match compare_digits(running, required) {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
    }
    if required.is_empty() {
        Some(Ordering::Equal)
    } else {
        compare_suffix(running, required)
    }
}

/// The leading `.1.2.3` as numbers, and what follows.
fn dotted(mut text: &str) -> (Vec<&str>, &str) {
    let mut numbers = Vec::new();
    while let Some(rest) = text.strip_prefix('.') {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        numbers.push(&rest[..end]);
        text = &rest[end..];
    }
    (numbers, text)
}

/// Compares two distribution suffixes field by field, each the way rpm compares.
///
/// The words at the start of fields (`aws`, `fc`, `amd64`) are a vendor or a flavour. Different ones have
/// different series of numbers, which are not comparable.
fn compare_suffix(running: &str, required: &str) -> Option<Ordering> {
    let fields = |text| str::split(text, '-').filter(|field: &&str| !field.is_empty());
    let running: Vec<Vec<Segment<'_>>> = fields(running).map(segments).collect();
    let required: Vec<Vec<Segment<'_>>> = fields(required).map(segments).collect();
    for (index, required) in required.iter().enumerate() {
        let word = required.first().and_then(Segment::word);
        match running.get(index) {
            Some(running) if running.first().and_then(Segment::word) != word => return None,
            None if index == 0 || word.is_some() => return None,
            _ => {}
        }
    }
    for (index, required) in required.iter().enumerate() {
        let running = running.get(index).map_or(&[][..], Vec::as_slice);
        match compare_segments(running, required)? {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
    }
    Some(Ordering::Equal)
}

/// A run of digits or of letters.
#[derive(Clone, Copy)]
enum Segment<'a> {
    Number(&'a str),
    Word(&'a str),
}

impl<'a> Segment<'a> {
    fn word(&self) -> Option<&'a str> {
        match self {
            Self::Number(_) => None,
            Self::Word(word) => Some(word),
        }
    }
}

fn segments(field: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let mut rest = field;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        if !digits && !first.is_alphanumeric() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let same = |c: char| c.is_ascii_digit() == digits && (digits || c.is_alphanumeric());
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (segment, tail) = rest.split_at(end);
        segments.push(if digits {
            Segment::Number(segment)
        } else {
            Segment::Word(segment)
        });
        rest = tail;
    }
    segments
}

/// Compares the stated segments by rpm's rule: numbers by value, a number is newer than a word, and a
/// missing segment of the running side counts as 0. Different words at one position are different vendors.
fn compare_segments(running: &[Segment<'_>], required: &[Segment<'_>]) -> Option<Ordering> {
    for (index, required) in required.iter().enumerate() {
        let ordering = match (running.get(index), required) {
            (Some(Segment::Number(a)), Segment::Number(b)) => compare_digits(a, b),
            (Some(Segment::Word(a)), Segment::Word(b)) if a == b => Ordering::Equal,
            (Some(Segment::Number(_)), Segment::Word(_)) => Ordering::Greater,
            (Some(Segment::Word(_)), Segment::Number(_)) => Ordering::Less,
            (None, Segment::Number(b)) => compare_digits("0", b),
            (Some(Segment::Word(_)) | None, Segment::Word(_)) => return None,
        };
        if ordering.is_ne() {
            return Some(ordering);
        }
    }
    Some(Ordering::Equal)
}

/// Compares digits by value, of any length.
fn compare_digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests;
