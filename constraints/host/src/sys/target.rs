//! The target folder of Cargo that a program lies in.

use std::path::Path;

/// Finds the target folder of Cargo's that an executable lies in.
#[must_use]
pub fn target_folder_of(executable: &Path) -> Option<&Path> {
    executable.ancestors().skip(1).find(|dir| is_target(dir))
}

/// Tells whether Cargo builds into this folder.
///
/// It marks the folder as a cache if it made it itself; if the folder was there before, such as an
/// empty volume of a container, it only leaves there what it knows of `rustc`.
#[must_use]
pub fn is_target(folder: &Path) -> bool {
    ["CACHEDIR.TAG", ".rustc_info.json"]
        .iter()
        .any(|mark| folder.join(mark).is_file())
}
