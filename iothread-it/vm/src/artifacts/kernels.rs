//! The kernels that an archive has, and which of them a choice names.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::apt::Closure;
use super::kernel_choice::{Flavour, KernelChoice, Wanted};

/// A kernel that the archive has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelOffer {
    /// The suite, such as `trixie`.
    pub suite: String,
    /// The suites that packages come from: `trixie` and `trixie-security`.
    pub sources: Vec<String>,
    /// Whether the suite is a stable release, whose kernel is one with long-term support.
    pub is_stable: bool,
    /// The variant.
    pub flavour: Flavour,
    /// The upstream version, such as `6.12.95` or `7.3~rc7`.
    pub version: String,
    /// The packages with its files.
    pub(super) packages: Closure,
}

/// The kernels that an archive has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kernels(pub(super) Vec<KernelOffer>);

/// The archive does not have the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", refusal(.wanted, .on_offer))]
pub struct NoSuchKernel {
    wanted: String,
    on_offer: Vec<String>,
}

fn refusal(wanted: &str, on_offer: &[String]) -> String {
    let choose = match on_offer {
        [] => "it has none for VMs; name a Debian archive in KATA_TEST_ARCHIVE".to_owned(),
        some => format!("choose one that it has: {}", some.join(", ")),
    };
    format!(
        "the archive has no kernel `{wanted}`; {choose}, or a kernel of your own with `--kernel`"
    )
}

impl Kernels {
    /// Returns all kernels, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[KernelOffer] {
        &self.0
    }

    pub(super) fn new(mut offers: Vec<KernelOffer>) -> Self {
        offers.sort_by(|a, b| {
            compare(&a.version, &b.version)
                .then_with(|| a.suite.cmp(&b.suite))
                .then_with(|| a.flavour.cmp(&b.flavour))
        });
        Self(offers)
    }

    /// Returns the kernel that a choice names: the newest with a version, or that of a suite.
    ///
    /// # Errors
    /// If the archive has none.
    pub fn find(&self, choice: &KernelChoice) -> Result<&KernelOffer, NoSuchKernel> {
        let is_named = |offer: &&KernelOffer| match &choice.wanted {
            Wanted::Suite(suite) => offer.suite == *suite,
            Wanted::Version(version) => has_version(&offer.version, version),
        };
        let flavour = |offer: &&KernelOffer| offer.flavour == choice.flavour;
        let found = self.0.iter().filter(flavour).filter(is_named);
        // Of equal versions, that of a stable release.
        found
            .max_by(|a, b| {
                compare(&a.version, &b.version).then_with(|| a.is_stable.cmp(&b.is_stable))
            })
            .ok_or_else(|| NoSuchKernel {
                wanted: choice.to_string(),
                on_offer: self
                    .0
                    .iter()
                    .filter(flavour)
                    .map(KernelOffer::label)
                    .collect(),
            })
    }

    /// Returns the default set: the line of each stable release, which has long-term support, and the newest
    /// kernel. Release candidates do not count.
    #[must_use]
    pub fn default_set(&self) -> Vec<KernelChoice> {
        let is_release =
            |offer: &&KernelOffer| offer.flavour == Flavour::Cloud && !offer.version.contains("rc");
        let offers = || self.0.iter().filter(is_release);
        let chosen = offers()
            .filter(|offer| offer.is_stable)
            .chain(offers().next_back());
        let mut lines: Vec<&str> = chosen.map(KernelOffer::line).collect();
        lines.dedup();
        let choice = |line: &str| KernelChoice {
            wanted: Wanted::Version(line.to_owned()),
            flavour: Flavour::Cloud,
        };
        lines.into_iter().map(choice).collect()
    }
}

impl KernelOffer {
    /// Returns the first two numbers of the version, such as `6.12`.
    #[must_use]
    pub fn line(&self) -> &str {
        line(&self.version)
    }

    /// Returns the size of the packages in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packages
            .packages()
            .iter()
            .map(|package| package.size)
            .sum()
    }

    /// Returns the choice of this suite's kernel.
    #[must_use]
    pub fn choice(&self) -> KernelChoice {
        KernelChoice {
            wanted: Wanted::Suite(self.suite.clone()),
            flavour: self.flavour,
        }
    }

    fn label(&self) -> String {
        format!("{} ({})", self.suite, self.version)
    }
}

fn line(version: &str) -> &str {
    let is_end =
        |(at, c): (usize, char)| (!c.is_ascii_digit() && version[..at].contains('.')).then_some(at);
    let end = version.char_indices().find_map(is_end);
    &version[..end.unwrap_or(version.len())]
}

/// Returns whether a version starts with these numbers.
fn has_version(version: &str, wanted: &str) -> bool {
    let rest = version.strip_prefix(wanted);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Compares versions as dpkg does: numbers as numbers, and `~` before the end.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    parts(a).cmp(&parts(b))
}

fn parts(version: &str) -> Vec<(u8, u64, &str)> {
    let mut found = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != is_digit || c == '~' && !rest.starts_with('~'));
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        found.push(match part {
            _ if is_digit => (2, part.parse().unwrap_or(u64::MAX), ""),
            _ if part.starts_with('~') => (0, 0, part),
            _ => (3, 0, part),
        });
        rest = after;
    }
    // The end of a version is after `~` and before all others.
    found.push((1, 0, ""));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(suite: &str, version: &str, is_stable: bool, flavour: Flavour) -> KernelOffer {
        KernelOffer {
            suite: suite.into(),
            sources: vec![suite.into()],
            is_stable,
            flavour,
            version: version.into(),
            packages: Closure::default(),
        }
    }

    fn kernels() -> Kernels {
        let cloud = |suite, version, is_stable| offer(suite, version, is_stable, Flavour::Cloud);
        Kernels::new(vec![
            cloud("sid", "7.2.13", false),
            cloud("experimental", "7.3~rc7", false),
            cloud("forky", "7.2.12", false),
            cloud("trixie-backports", "7.3.4", false),
            cloud("trixie", "6.12.117", true),
            cloud("bookworm-backports", "6.12.95", false),
            cloud("bookworm", "6.1.176", true),
            cloud("bullseye", "5.10.262", true),
            cloud("later", "7.4~rc1", false),
            offer("trixie", "6.12.117", true, Flavour::Generic),
        ])
    }

    fn found(text: &str) -> String {
        let kernels = kernels();
        match kernels.find(&text.parse().unwrap()) {
            Ok(offer) => format!("{} {}", offer.suite, offer.version),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_version_is_the_newest_of_its_line() {
        assert_eq!(found("6.12"), "trixie 6.12.117");
        assert_eq!(found("6.12.95"), "bookworm-backports 6.12.95");
        assert_eq!(found("6.1"), "bookworm 6.1.176");
        assert_eq!(found("7.2"), "sid 7.2.13");
        assert_eq!(found("7.3"), "trixie-backports 7.3.4");
        assert_eq!(found("7.4"), "later 7.4~rc1");
        assert_eq!(found("trixie+generic"), "trixie 6.12.117");
    }

    #[test]
    fn a_kernel_that_is_gone_is_an_error_with_what_there_is() {
        for gone in ["buster", "4.19", "6.11", "bullseye-backports"] {
            let error = found(gone);
            assert!(
                error.starts_with(&format!(
                    "the archive has no kernel `{gone}`; choose one that it has: bullseye (5.10.262), "
                )),
                "{error}"
            );
        }
        assert_eq!(
            found("sid+generic"),
            "the archive has no kernel `sid+generic`; choose one that it has: trixie (6.12.117), or a kernel of your own with `--kernel`"
        );
    }

    #[test]
    fn the_default_set_is_each_stable_line_and_the_newest() {
        let set = |kernels: &Kernels| -> Vec<String> {
            kernels
                .default_set()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(set(&kernels()), ["5.10", "6.1", "6.12", "7.3"]);
        let one = Kernels::new(vec![offer("trixie", "6.12.1", true, Flavour::Cloud)]);
        assert_eq!(set(&one), ["6.12"]);
        assert!(set(&Kernels::default()).is_empty());
    }

    #[test]
    fn versions_are_compared_as_by_dpkg() {
        let ascending = [
            "5.10.9", "5.10.10", "6.1", "6.1.1", "6.12", "7.3~rc7", "7.3~rc10", "7.3", "7.3.4",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }
}
