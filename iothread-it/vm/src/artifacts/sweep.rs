//! Removes unfinished files of killed processes from the store.
//!
//! The caller holds the lock of the store, so no unfinished file belongs to a running process.

use std::io::ErrorKind;
use std::path::Path;

use super::file_error::unless_absent;
use super::progress::Progress;
use super::store::{Store, StoreError, StoreLock, UNFINISHED_PREFIX, at};

impl Store {
    /// Locks the store, waiting for other processes, and removes unfinished files of killed ones.
    ///
    /// # Errors
    /// If the store cannot be written, or another process holds it for too long.
    pub fn lock(&self, progress: &mut dyn Progress) -> Result<StoreLock, StoreError> {
        let lock = self.take(progress)?;
        sweep(&lock)?;
        Ok(lock)
    }
}

/// Removes staging directories, partial downloads and unfinished files.
fn sweep(lock: &StoreLock) -> Result<(), StoreError> {
    remove_tree(&lock.staging_root())?;
    remove_tree(&lock.downloads().join("partial"))?;
    remove_unfinished(lock.store().base())?;
    let images = lock.store().images();
    for entry in std::fs::read_dir(&images).into_iter().flatten().flatten() {
        remove_unfinished(&entry.path())?;
    }
    Ok(())
}

/// Removes a directory and its content if it exists.
pub(super) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    unless_absent(std::fs::remove_dir_all(path)).map_err(at(path))
}

/// Removes the unfinished files in a directory.
fn remove_unfinished(directory: &Path) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at(directory))?,
    };
    for entry in entries {
        let entry = entry.map_err(at(directory))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED_PREFIX.as_bytes())
        {
            std::fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! **Scope**: which files are removed and kept. The tests of `apt` show that unfinished files are not
    //! used.

    use super::super::progress::Silent;
    use super::super::store::Store;

    #[test]
    fn unfinished_files_are_removed_and_others_kept() {
        let target = tempfile::tempdir().unwrap();
        let store = Store::at(target.path());
        let leftovers = [
            "staging/x/root/file",
            "debs/partial/a.deb",
            "images/6.1-0/.unfinished-1",
            ".unfinished-2",
        ];
        let finished = [
            "debs/a.deb",
            "images/6.1-0/initramfs",
            "packages/qemu-bookworm-0/stamp.json",
        ];
        for file in leftovers.iter().chain(&finished) {
            let path = store.base().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let _lock = store.lock(&mut Silent).unwrap();
        for file in leftovers {
            assert!(!store.base().join(file).exists(), "{file}");
        }
        for file in finished {
            assert!(store.base().join(file).exists(), "{file}");
        }
    }
}
