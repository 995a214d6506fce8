//! Cargo's target folder.

use std::path::Path;

/// Finds the target folder that contains an executable.
#[must_use]
pub fn target_folder_of(executable: &Path) -> Option<&Path> {
    executable.ancestors().skip(1).find(|dir| is_target(dir))
}

/// Returns whether a folder is a target folder of Cargo.
///
/// Cargo marks a folder that it creates as a cache. In a folder that existed before, such as an empty volume
/// of a container, it writes only its file about `rustc`.
#[must_use]
pub fn is_target(folder: &Path) -> bool {
    ["CACHEDIR.TAG", ".rustc_info.json"]
        .iter()
        .any(|mark| folder.join(mark).is_file())
}
