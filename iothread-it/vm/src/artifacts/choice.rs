//! Parses the choice of a QEMU, such as the option `--qemu`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The source of QEMU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QemuChoice {
    /// `auto`: the one on `PATH` if it is new enough, else that of the packages of the host's release.
    #[default]
    Auto,
    /// `host`: the one on `PATH`.
    Host,
    /// `suite:NAME`: the one in the packages of a suite, such as `trixie`.
    Suite(String),
    /// `PATH`: an executable.
    Path(PathBuf),
}

/// The choice of a QEMU is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` {reason}; expected `auto`, `host`, `suite:NAME` (such as `suite:bookworm`), or the path \
     of a QEMU with at least one `/`"
)]
pub struct InvalidQemuChoice {
    text: String,
    reason: &'static str,
}

impl FromStr for QemuChoice {
    type Err = InvalidQemuChoice;

    fn from_str(text: &str) -> Result<Self, InvalidQemuChoice> {
        let bad = |reason| {
            Err(InvalidQemuChoice {
                text: text.to_owned(),
                reason,
            })
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "host" => Ok(Self::Host),
            Some(("suite", name)) if is_suite_name(name) => Ok(Self::Suite(name.to_owned())),
            Some(("suite", _)) => bad("is not a valid name of a suite"),
            // A single word is more likely a typing error than a file in this directory.
            _ if text.contains('/') => Ok(Self::Path(PathBuf::from(text))),
            _ => bad("is not a choice of QEMU"),
        }
    }
}

/// Returns whether a name is valid in an apt source and as the name of a directory.
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
    //! **Scope**: parsing. Provisioning checks that the QEMU exists.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_parsed_and_displayed() {
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
    fn an_invalid_choice_lists_the_forms() {
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
        fn a_suite_name_is_one_path_component(name in "\\PC{0,12}") {
            if let Ok(QemuChoice::Suite(name)) = format!("suite:{name}").parse() {
                prop_assert!(!name.contains('/') && !name.starts_with('.'));
            }
        }
    }
}
