//! Clears away what a killed run left half done.
//!
//! Only the holder of the store's lock sweeps, so nothing here belongs to a run that still lives.

use std::io::ErrorKind;
use std::path::Path;

use super::progress::Progress;
use super::store::{Store, StoreError, StoreLock, UNFINISHED_PREFIX, at};

impl Store {
    /// Takes the lock, waits for whoever holds it, and sweeps away what killed runs left.
    ///
    /// # Errors
    /// If the store cannot be written, or another process holds it for too long.
    pub fn lock(&self, progress: &mut dyn Progress) -> Result<StoreLock, StoreError> {
        let lock = self.take(progress)?;
        sweep(&lock)?;
        Ok(lock)
    }
}

/// Removes staging directories, partial downloads and half-written files.
fn sweep(lock: &StoreLock) -> Result<(), StoreError> {
    remove_tree(&lock.staging_root())?;
    remove_tree(&lock.downloads().join("partial"))?;
    remove_unfinished(lock.store().base())?;
    remove_unfinished(&lock.store().base().join("images"))
}

/// Removes a directory with all in it, if it is there.
pub(super) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(at(path)(source)),
        _ => Ok(()),
    }
}

/// Removes the half-written files in one directory.
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
    //! **Scope**: what is swept and what is kept; that nothing unfinished is *used* is shown where
    //! it is unpacked.

    use super::super::progress::Silent;
    use super::super::store::Store;

    #[test]
    fn leftovers_go_and_finished_work_stays() {
        let target = tempfile::tempdir().unwrap();
        let store = Store::in_target(target.path());
        let leftovers = [
            "staging/x/root/file",
            "debs/partial/a.deb",
            "images/.unfinished-1",
            ".unfinished-2",
        ];
        let finished = [
            "debs/a.deb",
            "images/initramfs",
            "artifacts.json",
            "suites/bookworm/qemu/stamp.json",
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
