//! How a running kernel compares with a requirement: less, equal, greater, or nobody can say.

use std::cmp::Ordering;

use semver::Version;

use super::{Release, Requirement};

/// Compares as far as the requirement states; `None` where two vendors count differently.
pub(crate) fn compare(running: &Release<'_>, requirement: &Requirement) -> Option<Ordering> {
    // A requirement that goes on behind its components means exactly the components it has, so
    // 6.8-rc4 is the candidate of 6.8.0.
    let all = requirement.candidate.is_some() || !requirement.rest().is_empty();
    let precision = if all { 3 } else { requirement.stated };
    match triple(running.base, precision).cmp(&triple(requirement.base, precision)) {
        Ordering::Equal => {}
        unequal => return Some(unequal),
    }
    if let Some(candidate) = requirement.candidate {
        // A kernel that is no candidate is newer than all of its candidates.
        return Some(running.candidate.unwrap_or(u64::MAX).cmp(&candidate));
    }
    compare_rest(running.rest, requirement.rest())
}

/// The stated components as a version; the others are zero on both sides.
fn triple(base: [u64; 3], precision: usize) -> Version {
    let component = |index: usize| if index < precision { base[index] } else { 0 };
    Version::new(component(0), component(1), component(2))
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
/// The words that open the fields (`aws`, `fc`, `amd64`) name a vendor or a flavour. Two different
/// ones count in different series, and no order between these means anything.
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

/// rpm's rule for the stated segments: numbers by value, a number is newer than a word, and what
/// the running side lacks counts as 0. Different words in one place are different vendors.
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
