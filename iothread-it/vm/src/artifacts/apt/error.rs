//! Why packages could not be had.

use std::path::PathBuf;

use super::super::private::PrivateQemuError;
use super::super::store::StoreError;
use crate::process::ChildError;

/// Why packages could not be fetched or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The host has another way of installing things.
    #[error(
        "`{program}` is not on PATH, so no packages can be fetched; name a QEMU that is already there"
    )]
    NoApt {
        /// The program that was looked for.
        program: &'static str,
    },
    /// The host's apt knows no archive.
    #[error("apt on this host has no archive configured for {suite}; add one to its sources")]
    NoSource {
        /// What was wanted.
        suite: String,
    },
    /// A path that apt's configuration, or a list of library directories, has no way to write.
    #[error(
        "apt cannot be given the path {}; use a target directory without quotes, colons and semicolons",
        path.display()
    )]
    OddPath {
        /// The path.
        path: PathBuf,
    },
    /// One of apt's programs failed.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The package lists could not be fetched, and without them a package is unknown.
    #[error("none of {} can be had from {suite}{}", wanted.join(", "), also(update))]
    Unknown {
        /// The packages, any of which would have done.
        wanted: Vec<String>,
        /// Where they were looked for.
        suite: String,
        /// What apt said while it fetched the lists.
        update: String,
        /// What apt said about the first package.
        source: Box<ChildError>,
    },
    /// apt knows the package and would download nothing that is of use to us.
    #[error(
        "apt lists nothing to download for {package} of {suite}; is it another distribution's?"
    )]
    Empty {
        /// The package.
        package: String,
        /// Where it was looked for.
        suite: String,
    },
    /// apt printed something else than expected.
    #[error("apt described a package as `{line}`, which is not understood")]
    OddLine {
        /// Its line.
        line: String,
    },
    /// Files were still absent or wrong after several downloads.
    #[error("{} could not be downloaded intact in {tries} tries", files.join(", "))]
    Incomplete {
        /// What is missing.
        files: Vec<String>,
        /// How often it was tried.
        tries: u32,
        /// What apt said the last time, if it failed.
        source: Option<ChildError>,
    },
    /// The packages were unpacked, but what they hold does not work.
    #[error("what was unpacked from the packages does not work")]
    Unusable(#[from] PrivateQemuError),
    /// The packages hold no kernel.
    #[error("the packages of {suite} hold no kernel with modules")]
    NoKernel {
        /// Where they came from.
        suite: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn also(update: &str) -> String {
    if update.is_empty() {
        String::new()
    } else {
        format!(" (its lists: {update})")
    }
}
