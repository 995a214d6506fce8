//! gdbserver of the host's release, for hosts that have none installed.

use std::path::{Path, PathBuf};

use super::apt::{AptError, PackageSet, ensure};
use super::error::ArtifactError;
use super::progress::Progress;
use super::store::StoreLock;

const GDBSERVER: PackageSet = PackageSet {
    name: "gdbserver",
    candidates: &["gdbserver"],
    // Its libraries are those that apt itself needs.
    needs: |package| package.name() == "gdbserver",
    check: |root| match program_below(root).is_file() {
        true => Ok(String::new()),
        false => Err(AptError::Lacks("gdbserver")),
    },
};

fn program_below(root: &Path) -> PathBuf {
    root.join("usr/bin/gdbserver")
}

/// Provides gdbserver, and returns its path.
///
/// # Errors
/// If the package cannot be fetched or unpacked.
pub fn provision_gdbserver(
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<PathBuf, ArtifactError> {
    Ok(program_below(
        &ensure(lock, None, &GDBSERVER, progress)?.root,
    ))
}
