//! Errors of fetching and unpacking packages.

use std::path::PathBuf;

use super::super::debian_archive::ARCHIVE_ENV;
use super::super::pins::LOCK_FILE;
use super::super::size::shown_size;
use super::super::store::StoreError;
use super::super::tools::ToolsError;
use super::super::unpacked_qemu::UnpackedQemuError;
use crate::process::CommandError;

/// Why packages could not be fetched or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AptError {
    /// apt is not installed.
    #[error(
        "`{0}` is not on PATH, so packages cannot be fetched; install apt and dpkg (distributions \
         with other packages have them too), or choose an installed QEMU"
    )]
    NoApt(&'static str),
    /// apt has no source for the suite.
    #[error(
        "apt has no source for {0}; add one to `/etc/apt/sources.list.d`, or name a Debian archive \
         in {ARCHIVE_ENV}"
    )]
    NoSource(String),
    /// The tools for guests cannot be used.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// The archive that the user names does not have the suite.
    #[error(
        "the archive {url} is configured with {} only; add {suite} to its suites",
        suites.join(", ")
    )]
    NoSuite {
        /// The suite.
        suite: String,
        /// The archive.
        url: String,
        /// Its suites.
        suites: Vec<String>,
    },
    /// The cache does not have the packages, and nothing may be fetched.
    #[error(
        "the cache {} does not have {set} of {suite}, and `--offline` fetches nothing; run the command \
         once without `--offline`",
        cache.display()
    )]
    Offline {
        /// The set of packages, such as `kernel`.
        set: &'static str,
        /// The suite.
        suite: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The cache does not have the list of kernels, and nothing may be fetched.
    #[error(
        "the cache {} does not know which kernels the archive has, and `--offline` fetches nothing; run the \
         command once without `--offline`",
        .0.display()
    )]
    OfflineKernels(PathBuf),
    /// The lock file has no packages for the set.
    #[error(
        "{LOCK_FILE} pins no {set} of {suite}; `cargo kata-test lock`, with the same `--places` and `--qemu`, writes it anew"
    )]
    NotPinned {
        /// The set of packages.
        set: &'static str,
        /// The suite.
        suite: String,
    },
    /// The archive does not have the pinned packages.
    #[error(
        "cannot get the {set} of {suite} that {LOCK_FILE} pins: an archive keeps a version only until it \
         has the next one; pin the current one with `cargo kata-test lock`, or name an archive that \
         keeps old versions in {ARCHIVE_ENV}"
    )]
    PinnedGone {
        /// The set of packages.
        set: &'static str,
        /// The suite.
        suite: String,
        /// The failure.
        source: Box<AptError>,
    },
    /// apt's configuration, or a list of library directories, cannot contain the path.
    #[error(
        "apt does not support the path {}; use a cache directory (`KATA_TEST_CACHE`) without quotes, colons and semicolons",
        .0.display()
    )]
    UnquotablePath(PathBuf),
    /// One of apt's programs failed.
    #[error(transparent)]
    Child(#[from] CommandError),
    /// There is too little space for package lists or packages.
    #[error(
        "{what} take up to {}, and {} are free for {}; free some, or set KATA_TEST_CACHE to a folder on a larger file \
         system",
        shown_size(*needed),
        shown_size(*free),
        path.display()
    )]
    NoSpace {
        /// What needs it.
        what: &'static str,
        /// How many bytes may be needed.
        needed: u64,
        /// How many there are.
        free: u64,
        /// A folder on the file system.
        path: PathBuf,
    },
    /// The archive does not answer, or has no such suite, or apt does not trust it.
    #[error(
        "cannot read the archive of {suite}: {update}; check the name of the suite, the keyring, the network and the \
         proxy (`http_proxy`, `https_proxy`, or `Acquire::http::Proxy` in apt's configuration), or use `--offline` with \
         what the cache has"
    )]
    Unreadable {
        /// The suite.
        suite: String,
        /// What `apt-get update` printed of it.
        update: String,
    },
    /// None of the packages is in the package lists.
    #[error(
        "no package {} in {suite}{}; if the host's archive is not Debian's, name one in {ARCHIVE_ENV}",
        wanted.join(" or "),
        also(update)
    )]
    PackageNotFound {
        /// The alternative packages.
        wanted: Vec<String>,
        /// The suite.
        suite: String,
        /// The warnings of `apt-get update`.
        update: String,
        /// The failure of apt for the first package.
        source: Box<CommandError>,
    },
    /// apt would download no needed package.
    #[error(
        "apt lists nothing to download for {package} in {suite}; check that the suite is one of this distribution"
    )]
    NothingToDownload {
        /// The package.
        package: String,
        /// The suite.
        suite: String,
    },
    /// apt printed an unexpected line.
    #[error("unexpected line in the output of `apt-get --print-uris`: `{0}`")]
    UnexpectedLine(String),
    /// Packages are still missing or damaged after several downloads.
    #[error("cannot download {}: missing or damaged after {tries} attempts", files.join(", "))]
    Incomplete {
        /// The package files.
        files: Vec<String>,
        /// The number of attempts.
        tries: u32,
        /// The failure of the last download, if apt failed.
        source: Option<CommandError>,
    },
    /// The unpacked QEMU does not work.
    #[error("the packages were unpacked, but cannot be used")]
    CheckFailed(#[from] UnpackedQemuError),
    /// The packages contain no kernel.
    #[error("the packages of {suite} contain no kernel with modules")]
    NoKernel {
        /// The suite.
        suite: String,
    },
    /// The packages lack what they are for.
    #[error("the packages contain no {0}")]
    Lacks(&'static str),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn also(update: &str) -> String {
    if update.is_empty() {
        String::new()
    } else {
        format!(" (apt-get update: {update})")
    }
}
