//! The version of the running kernel, in whatever form its vendor gave it.

/// A kernel's release as uname(2) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release<'a> {
    /// Major, minor, patch; a missing patch level is 0.
    pub(super) base: [u64; 3],
    /// The number of a release candidate.
    pub(super) candidate: Option<u64>,
    /// All that follows the components.
    pub(super) rest: &'a str,
}

impl<'a> Release<'a> {
    /// Parses a release; `None` if it does not begin with two numbers.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (major, rest) = number(text)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let patch = rest.strip_prefix('.').and_then(number);
        let (patch, rest) = patch.unwrap_or((0, rest));
        Some(Self {
            base: [major, minor, patch],
            candidate: candidate(rest),
            rest,
        })
    }
}

/// The leading number, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn candidate(rest: &str) -> Option<u64> {
    Some(number(rest.strip_prefix("-rc")?)?.0)
}
