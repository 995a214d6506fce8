//! Parses the choice of a kernel, as in the place `vm:6.12`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::choice::is_suite_name;

/// The variant of a distribution's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// For virtual machines: small, with the drivers of clouds.
    Cloud,
    /// For all machines.
    Generic,
}

/// What follows the kernel's name if the flavour is not the default.
const GENERIC: &str = "+generic";

/// A kernel of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelChoice {
    /// Which kernel.
    pub wanted: Wanted,
    /// The flavour; cloud is the default.
    pub flavour: Flavour,
}

/// Which kernel of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `6.12`: the newest kernel of the archive with these leading components.
    Version(String),
    /// `trixie`: the kernel of a suite, with that suite's security updates.
    Suite(String),
}

/// The choice of a kernel is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a kernel; expected a version, such as `6.12`, or a suite, such as `trixie`, both also \
     with `{GENERIC}` for the distribution's kernel for all machines"
)]
pub struct InvalidKernelChoice {
    text: String,
}

impl FromStr for KernelChoice {
    type Err = InvalidKernelChoice;

    fn from_str(text: &str) -> Result<Self, InvalidKernelChoice> {
        let (name, flavour) = match text.strip_suffix(GENERIC) {
            Some(name) => (name, Flavour::Generic),
            None => (text, Flavour::Cloud),
        };
        let wanted = if is_version(name) {
            Wanted::Version(name.to_owned())
        } else if is_suite_name(name) && !name.starts_with(|c: char| c.is_ascii_digit()) {
            Wanted::Suite(name.to_owned())
        } else {
            let text = text.to_owned();
            return Err(InvalidKernelChoice { text });
        };
        Ok(Self { wanted, flavour })
    }
}

/// Returns whether a text has two or three numbers, as `6.12` and `6.12.95`.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| {
        let fits = part.parse::<u16>().is_ok() && !part.starts_with('+');
        fits && (part == "0" || !part.starts_with('0'))
    };
    (2..=3).contains(&text.split('.').count()) && text.split('.').all(is_number)
}

impl fmt::Display for KernelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wanted::Version(name) | Wanted::Suite(name)) = &self.wanted;
        f.write_str(name)?;
        match self.flavour {
            Flavour::Cloud => Ok(()),
            Flavour::Generic => f.write_str(GENERIC),
        }
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing. [`Kernels`](super::super::Kernels) finds what the archive has.

    use super::*;

    #[test]
    fn each_form_is_parsed_and_displayed() {
        let version = |text: &str| Wanted::Version(text.into());
        let suite = |text: &str| Wanted::Suite(text.into());
        let cases = [
            ("6.12", version("6.12"), Flavour::Cloud),
            ("6.12.95+generic", version("6.12.95"), Flavour::Generic),
            (
                "trixie-backports",
                suite("trixie-backports"),
                Flavour::Cloud,
            ),
            ("sid+generic", suite("sid"), Flavour::Generic),
        ];
        for (text, wanted, flavour) in cases {
            let choice = KernelChoice { wanted, flavour };
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn an_invalid_choice_lists_the_forms() {
        for text in [
            "", "6", "6.", "6.012", "6.1.2.3", "6.x", "../x", "+generic", "a b", "6.+1", "6.99999",
        ] {
            let error = text.parse::<KernelChoice>().unwrap_err().to_string();
            assert!(
                error.contains("`6.12`") && error.contains("`trixie`"),
                "{error}"
            );
        }
    }
}
