//! Collects the reasons why guests were booted instead of restored, so that the runner can report each
//! reason once.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::artifacts::{hex, write_atomically};

/// Adds a reason. Errors are ignored.
pub(super) fn add(folder: &Path, why: &str) {
    let name = hex(&Sha256::digest(why));
    let _ = write_atomically(&folder.join(name), why.as_bytes());
}

/// Removes and returns all reasons.
pub(super) fn take(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let why = std::fs::read_to_string(entry.path()).ok()?;
            std::fs::remove_file(entry.path()).ok()?;
            Some(why)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("notes");
        assert!(take(&folder).is_empty());
        for why in ["no room", "another reason", "no room"] {
            add(&folder, why);
        }
        assert!(take(&folder).iter().eq(["another reason", "no room"]));
        assert!(take(&folder).is_empty());
    }
}
