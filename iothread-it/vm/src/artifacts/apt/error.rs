//! Errors of fetching and unpacking packages.

use std::path::PathBuf;

use super::super::store::StoreError;
use super::super::unpacked_qemu::UnpackedQemuError;
use crate::process::CommandError;

/// Why packages could not be fetched or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AptError {
    /// apt is not installed.
    #[error(
        "`{program}` is not on PATH, so packages cannot be fetched; install it, or choose an installed QEMU"
    )]
    NoApt {
        /// The missing program.
        program: &'static str,
    },
    /// apt has no source for the suite.
    #[error("apt has no source for {suite}; add one to `/etc/apt/sources.list.d`")]
    NoSource {
        /// The suite.
        suite: String,
    },
    /// apt's configuration, or a list of library directories, cannot contain the path.
    #[error(
        "apt does not support the path {}; use a target directory without quotes, colons and semicolons",
        path.display()
    )]
    UnquotablePath {
        /// The path.
        path: PathBuf,
    },
    /// One of apt's programs failed.
    #[error(transparent)]
    Child(#[from] CommandError),
    /// None of the packages is in the package lists.
    #[error("no package {} in {suite}{}", wanted.join(" or "), also(update))]
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
    #[error("unexpected line in the output of `apt-get --print-uris`: `{line}`")]
    UnexpectedLine {
        /// The line.
        line: String,
    },
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
