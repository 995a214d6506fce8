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

/// The leading number, and what follows it. By bytes: it is read for every test of a list, and
/// iterators are slow without optimisation.
fn number(text: &str) -> Option<(u64, &str)> {
    let bytes = text.as_bytes();
    let mut value: u64 = 0;
    let mut at = 0;
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(bytes[at] - b'0'))?;
        at += 1;
    }
    (at > 0).then(|| (value, &text[at..]))
}

fn candidate(rest: &str) -> Option<u64> {
    Some(number(rest.strip_prefix("-rc")?)?.0)
}
