//! Which QEMU a person asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where QEMU is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QemuChoice {
    /// The host's if it is new enough, else the one in the packages of the host's release.
    Auto,
    /// The one on `PATH`, and no other.
    Host,
    /// The one in the packages of this suite, such as `trixie`.
    Suite(String),
    /// This file.
    Path(PathBuf),
}

/// A text that names no QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` {reason}; say `auto`, `host`, `suite:NAME` (such as `suite:bookworm`), or the path \
     of a QEMU with at least one `/`"
)]
pub struct BadChoice {
    text: String,
    reason: &'static str,
}

impl FromStr for QemuChoice {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        let bad = |reason| {
            Err(BadChoice {
                text: text.to_owned(),
                reason,
            })
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "host" => Ok(Self::Host),
            Some(("suite", name)) if is_suite_name(name) => Ok(Self::Suite(name.to_owned())),
            Some(("suite", _)) => bad("is no name of a suite"),
            // A word alone is more likely a slip of the hand than a file in this directory.
            _ if text.contains('/') => Ok(Self::Path(PathBuf::from(text))),
            _ => bad("names no QEMU"),
        }
    }
}

/// Whether a name can stand in an apt source and be a directory's name.
pub(crate) fn is_suite_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl fmt::Display for QemuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Host => f.write_str("host"),
            Self::Suite(name) => write!(f, "suite:{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: texts only; whether the QEMU is there is found out later.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_read_and_shown_alike() {
        let cases = [
            ("auto", QemuChoice::Auto),
            ("host", QemuChoice::Host),
            ("suite:bookworm", QemuChoice::Suite("bookworm".into())),
            ("/opt/qemu", QemuChoice::Path("/opt/qemu".into())),
            ("./a:b", QemuChoice::Path("./a:b".into())),
        ];
        for (text, choice) in cases {
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn a_slip_is_refused_with_the_forms_there_are() {
        for text in [
            "",
            "hots",
            "suite:",
            "suite:a b",
            "suite:../..",
            "suite:-x",
            "Suite:sid",
        ] {
            let error = text.parse::<QemuChoice>().unwrap_err().to_string();
            assert!(
                error.contains("`auto`") && error.contains("suite:NAME"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_suite_never_leaves_its_directory(name in "\\PC{0,12}") {
            if let Ok(QemuChoice::Suite(name)) = format!("suite:{name}").parse() {
                prop_assert!(!name.contains('/') && !name.starts_with('.'));
            }
        }
    }
}
