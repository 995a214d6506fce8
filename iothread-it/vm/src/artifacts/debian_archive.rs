//! An archive that the user names, for hosts whose own apt has no archive with the needed suites.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::apt::hex;
use super::choice::is_suite_name;

/// Environment variable with the URL of an archive.
pub const ARCHIVE_ENV: &str = "KATA_TEST_ARCHIVE";
/// Environment variable with the suites of the archive, separated by spaces.
const ARCHIVE_SUITES_ENV: &str = "KATA_TEST_ARCHIVE_SUITES";
/// Environment variable with the keyring of the archive.
const ARCHIVE_KEYRING_ENV: &str = "KATA_TEST_ARCHIVE_KEYRING";

/// The URL schemes that apt supports without a further package.
const SCHEMES: [&str; 4] = ["https://", "http://", "file:/", "copy:/"];

/// A Debian archive: where it is, what it has, and who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianArchive {
    url: String,
    suites: Vec<String>,
    keyring: PathBuf,
    /// A hash of the URL and the keyring.
    id: String,
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidArchive {
    /// The URL is invalid.
    #[error(
        "`{}` is not the URL of an archive; expected one that starts with {} and has no spaces",
        .0,
        SCHEMES.join(", ")
    )]
    Url(String),
    /// There is no suite.
    #[error("the archive {0} has no suites; name them, the preferred one first, such as `trixie`")]
    NoSuite(String),
    /// A suite's name is invalid.
    #[error(
        "`{suite}` is not the name of a suite of the archive {url}; expected a name such as `trixie`"
    )]
    Suite {
        /// The URL.
        url: String,
        /// The suite.
        suite: String,
    },
    /// The keyring is missing or cannot be read.
    #[error(
        "cannot read the keyring {} of the archive {url}; install the archive's keyring (a package \
         such as `debian-archive-keyring`), and name its file with an absolute path without spaces",
        path.display()
    )]
    Keyring {
        /// The URL.
        url: String,
        /// The keyring.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// Only some of the variables are set.
    #[error(
        "{ARCHIVE_ENV} is set, but {0} is not; an archive needs its suites \
         ({ARCHIVE_SUITES_ENV}) and the keyring that signs them ({ARCHIVE_KEYRING_ENV})"
    )]
    Incomplete(&'static str),
}

impl DebianArchive {
    /// Makes an archive with these suites, the preferred one first. All of its package lists must be
    /// signed by a key in `keyring`.
    ///
    /// # Errors
    /// If the URL or a suite is invalid, or the keyring cannot be read.
    pub fn new(url: &str, suites: &[String], keyring: &Path) -> Result<Self, InvalidArchive> {
        let is_plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let url = url.to_owned();
        if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) || !is_plain(&url) {
            return Err(InvalidArchive::Url(url));
        }
        if suites.is_empty() {
            return Err(InvalidArchive::NoSuite(url));
        }
        if let Some(suite) = suites.iter().find(|suite| !is_suite_name(suite)) {
            let suite = suite.clone();
            return Err(InvalidArchive::Suite { url, suite });
        }
        let content = match keyring.to_str().is_some_and(is_plain) && keyring.is_absolute() {
            true => std::fs::read(keyring),
            false => Err(std::io::ErrorKind::InvalidFilename.into()),
        };
        let content = content.map_err(|source| InvalidArchive::Keyring {
            url: url.clone(),
            path: keyring.into(),
            source,
        })?;
        let mut hasher = Sha256::new_with_prefix(format!("{url}\n"));
        hasher.update(content);
        Ok(Self {
            id: hex(&hasher.finalize()[..8]),
            url,
            suites: suites.to_vec(),
            keyring: keyring.into(),
        })
    }

    /// Makes the archive that the environment names, if it names one.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn from_env() -> Result<Option<Self>, InvalidArchive> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, InvalidArchive> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        let Some(url) = value(ARCHIVE_ENV) else {
            return Ok(None);
        };
        let needed = |name| value(name).ok_or(InvalidArchive::Incomplete(name));
        let suites = needed(ARCHIVE_SUITES_ENV)?.to_string_lossy().into_owned();
        let suites: Vec<_> = suites.split_whitespace().map(str::to_owned).collect();
        let keyring = PathBuf::from(needed(ARCHIVE_KEYRING_ENV)?);
        Self::new(&url.to_string_lossy(), &suites, &keyring).map(Some)
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the suites, the preferred one first.
    #[must_use]
    pub fn suites(&self) -> &[String] {
        &self.suites
    }

    pub(super) fn keyring(&self) -> &Path {
        &self.keyring
    }

    /// Returns the name of the folder for what is known of the archive.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing. The tests of `apt` use a real apt with a signed archive.

    use super::*;

    const URL: &str = "https://archive.example/debian";
    const KEYRING: &str = "/proc/self/exe";

    fn made(url: &str, suites: &str, keyring: &str) -> Result<DebianArchive, InvalidArchive> {
        let values = [
            (ARCHIVE_ENV, url),
            (ARCHIVE_SUITES_ENV, suites),
            (ARCHIVE_KEYRING_ENV, keyring),
        ];
        let variable = |name: &str| {
            let found = values.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        DebianArchive::from_variables(variable).map(|archive| archive.expect("it has a URL"))
    }

    #[test]
    fn an_archive_is_made_from_variables() {
        let archive = made(URL, "trixie bookworm", KEYRING).unwrap();
        assert_eq!(
            (archive.url(), archive.suites()[0].as_str()),
            (URL, "trixie")
        );
        assert!(DebianArchive::from_variables(|_| None).unwrap().is_none());
        assert!(
            DebianArchive::from_variables(|_| Some("".into()))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_id_covers_url_and_keyring() {
        let id = |url, keyring| made(url, "sid", keyring).unwrap().id().to_owned();
        let ids = [
            id(URL, KEYRING),
            id("file:/a", KEYRING),
            id(URL, "/proc/self/status"),
        ];
        assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(id(URL, KEYRING), ids[0]);
    }

    #[test]
    fn an_invalid_archive_is_refused() {
        let cases = [
            (URL, "", KEYRING),
            (URL, "sid", ""),
            (URL, " ", KEYRING),
            (URL, "sid ../x", KEYRING),
            ("archive.example", "sid", KEYRING),
            ("https://a b", "sid", KEYRING),
            (URL, "sid", "/nonexistent.gpg"),
            (URL, "sid", "relative.gpg"),
        ];
        let expected = [
            "KATA_TEST_ARCHIVE_SUITES is not",
            "KATA_TEST_ARCHIVE_KEYRING is not",
            "has no suites",
            "`../x` is not the name of a suite",
            "`archive.example` is not the URL",
            "`https://a b` is not the URL",
            "cannot read the keyring /nonexistent.gpg",
            "cannot read the keyring relative.gpg",
        ];
        for ((url, suites, keyring), expected) in cases.into_iter().zip(expected) {
            let error = made(url, suites, keyring).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
