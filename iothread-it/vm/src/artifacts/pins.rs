//! The lock file: the versions and hashes of the packages of QEMU and kernels.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apt::Closure;
use super::choice::is_suite_name;
use super::file_error::{FileError, cannot};
use super::kernel_choice::Flavour;
use super::kernels::{KernelOffer, Kernels};
use super::store::write_atomically;

/// Name of the file, at the root of a workspace.
pub const LOCK_FILE: &str = "kata-test.lock";

const SCHEMA: u32 = 1;

const HEAD: &str = "# The packages that VMs run with: QEMU and kernels. `cargo kata-test lock` writes this file.\n\n";

/// The sets with kernels.
pub(super) const KERNEL_SET: &str = "kernel";
pub(super) const GENERIC_KERNEL_SET: &str = "kernel-generic";

/// Packages that are pinned to their versions and hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    version: u32,
    #[serde(default, rename = "set")]
    sets: Vec<PinnedSet>,
}

/// A set of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedSet {
    name: String,
    suite: String,
    #[serde(rename = "package")]
    closure: Closure,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockFileError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The file cannot be parsed.
    #[error("cannot parse {}: {reason}; `cargo kata-test lock` writes it anew", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
}

impl Pins {
    /// Makes pins. Of equal sets the last counts.
    pub(super) fn new(sets: &[(String, String, Closure)]) -> Self {
        let mut pins = Self {
            version: SCHEMA,
            sets: Vec::new(),
        };
        for (name, suite, closure) in sets {
            pins.sets
                .retain(|set| (&set.name, &set.suite) != (name, suite));
            pins.sets.push(PinnedSet {
                name: name.clone(),
                suite: suite.clone(),
                closure: closure.clone(),
            });
        }
        pins.sets
            .sort_by(|a, b| (&a.name, &a.suite).cmp(&(&b.name, &b.suite)));
        pins
    }

    /// Reads a lock file. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Option<Self>, LockFileError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(cannot("read or write", path))?,
        };
        let invalid = |reason| LockFileError::Invalid {
            path: path.into(),
            reason,
        };
        Self::parse(&text).map(Some).map_err(invalid)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let pins: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if pins.version != SCHEMA {
            return Err(format!("its version is {}, not {SCHEMA}", pins.version));
        }
        for set in &pins.sets {
            let name = format!("{} of {}", set.name, set.suite);
            if !is_suite_name(&set.suite) || set.closure.packages().is_empty() {
                return Err(format!("the set {name} is empty or has an invalid suite"));
            }
            if let Some(package) = set.closure.packages().iter().find(|p| !p.is_valid()) {
                return Err(format!(
                    "the set {name} has an invalid package `{}`",
                    package.file
                ));
            }
        }
        Ok(pins)
    }

    /// Writes a lock file atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LockFileError> {
        let text = toml::to_string(self).map_err(std::io::Error::other);
        let written =
            text.and_then(|text| write_atomically(path, (HEAD.to_owned() + &text).as_bytes()));
        Ok(written.map_err(cannot("read or write", path))?)
    }

    /// Returns the packages of a set.
    pub(super) fn find(&self, name: &str, suite: &str) -> Option<&Closure> {
        let found = self
            .sets
            .iter()
            .find(|set| set.name == name && set.suite == suite);
        found.map(|set| &set.closure)
    }

    /// Returns the suite of the first set of this name.
    pub(super) fn suite_of(&self, name: &str) -> Option<&str> {
        let found = self.sets.iter().find(|set| set.name == name);
        found.map(|set| set.suite.as_str())
    }

    /// Returns the pinned kernels. All of them are in the default set.
    pub(super) fn kernels(&self) -> Kernels {
        let offer = |set: &PinnedSet| {
            let flavour = match &*set.name {
                KERNEL_SET => Flavour::Cloud,
                GENERIC_KERNEL_SET => Flavour::Generic,
                _ => return None,
            };
            let image = set.closure.named("linux-image-")?;
            Some(KernelOffer {
                suite: set.suite.clone(),
                sources: vec![set.suite.clone(), format!("{}-security", set.suite)],
                is_stable: true,
                flavour,
                version: image.upstream_version(),
                packages: set.closure.clone(),
            })
        };
        Kernels::new(self.sets.iter().filter_map(offer).collect())
    }

    /// Returns a line for each set: its name, its suite, and the number of its packages.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let line = |set: &PinnedSet| {
            let count = set.closure.packages().len();
            format!("{} of {}: {count} packages", set.name, set.suite)
        };
        self.sets.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn pins() -> Pins {
        let line = |file: &str| format!("'x' {file} 9281168 SHA256:{HASH}");
        let closure = |file: &str| Closure::parse(&[line(file)], |_| true).unwrap();
        let set = |name: &str, suite: &str, file: &str| (name.into(), suite.into(), closure(file));
        Pins::new(&[
            set(
                "qemu",
                "bookworm",
                "qemu-system-x86_1%3a7.2+dfsg-7_amd64.deb",
            ),
            set("kernel", "sid", "linux-image-6.17_6.17.1-1_amd64.deb"),
            set("kernel", "sid", "linux-image-6.17_6.17.2-1_amd64.deb"),
        ])
    }

    #[test]
    fn write_and_read_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE);
        assert_eq!(Pins::read(&path).unwrap(), None);
        pins().write(&path).unwrap();
        assert_eq!(Pins::read(&path).unwrap(), Some(pins()));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# The packages that VMs run with"),
            "{text}"
        );
        let line = "file = \"linux-image-6.17_6.17.2-1_amd64.deb\"\nsize = 9281168\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_set_is_found_by_name_and_suite() {
        let pins = pins();
        let kernel = pins.find("kernel", "sid").unwrap();
        assert_eq!(kernel.packages()[0].version(), "6.17.2-1");
        assert_eq!(pins.find("kernel", "bookworm"), None);
        assert_eq!(pins.suite_of("qemu"), Some("bookworm"));
    }

    #[test]
    fn pinned_kernels_are_on_offer() {
        let kernels = pins().kernels();
        let found = kernels.find(&"6.17".parse().unwrap()).unwrap();
        assert_eq!((&*found.suite, &*found.version), ("sid", "6.17.2"));
        assert_eq!(kernels.default_set(), ["6.17".parse().unwrap()]);
        assert!(kernels.find(&"bookworm".parse().unwrap()).is_err());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let text = toml::to_string(&pins()).unwrap();
        let cases = [
            "version = 2".to_owned(),
            "[[set]]".to_owned(),
            text.replace("\"sid\"", "\"../sid\""),
            text.replace(HASH, "e3b0"),
            text.replace("linux-image-6.17_6.17.2-1_amd64.deb", "../x"),
            text.replace("size = 9281168", "size = -1"),
        ];
        let expected = [
            "its version is 2",
            "missing field",
            "invalid suite",
            "invalid package",
        ];
        let expected = expected
            .iter()
            .chain(["invalid package", "invalid value"].iter());
        for (text, expected) in cases.iter().zip(expected) {
            let reason = Pins::parse(text).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "(\\PC{0,9}|\\[\\[set\\]\\]\n|version = 1\n|name = \"a\"\n){0,9}") {
            let _ = Pins::parse(&text);
        }
    }
}
