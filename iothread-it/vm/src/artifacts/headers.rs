//! The headers that modules for a suite's kernel are compiled with. Tests compile some; guests need none.

use std::path::Path;

use super::apt::{AptError, PackageSet, ensure};
use super::error::ArtifactError;
use super::progress::Progress;
use super::store::StoreLock;

const HEADERS: PackageSet = PackageSet {
    name: "headers",
    candidates: &["linux-headers-cloud-amd64"],
    // Without the compiler and the programs of kbuild.
    needs: |package| package.name().starts_with("linux-headers-"),
    check: |root| release_below(root).ok_or(AptError::Lacks("headers of a kernel")),
};

/// Provides the headers of a suite's kernel for virtual machines, and returns its release.
///
/// # Errors
/// If the packages cannot be fetched or unpacked.
pub fn provision_headers(
    suite: &str,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<String, ArtifactError> {
    Ok(ensure(lock, Some(suite), &HEADERS, progress)?.finding)
}

/// Returns the release of the kernel whose configured headers are below a root directory.
fn release_below(root: &Path) -> Option<String> {
    let folders = root.join("usr/src").read_dir().ok()?.flatten();
    let configured = folders.filter(|folder| folder.path().join("include/generated").is_dir());
    let mut names = configured.filter_map(|folder| folder.file_name().into_string().ok());
    names.find_map(|name| name.strip_prefix("linux-headers-").map(str::to_owned))
}
