//! Folders for what a VM needs on disk and nobody needs afterwards.
//!
//! A folder is removed with its owner. An owner that is killed cannot do that, so whoever makes
//! the next folder removes those that have lost their owner: each owner holds a lock in its folder,
//! which ends with the process however that ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// The file in each folder that its owner has locked, and the one beside the folders that is
/// locked while a folder is made or removed.
const LOCK: &str = ".lock";

/// A folder that goes with this value.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _owned: File,
}

impl Scratch {
    /// Makes a folder below `root`, and removes those there whose owners are gone.
    ///
    /// # Errors
    /// If `root` cannot be written.
    pub fn new_in(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let turn = File::create(root.join(LOCK))?;
        turn.lock()?;
        sweep(root)?;
        let directory = TempDir::new_in(root)?;
        let owned = File::create(directory.path().join(LOCK))?;
        owned.lock()?;
        Ok(Self {
            directory,
            _owned: owned,
        })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the folders below `root` whose owners are gone.
///
/// # Errors
/// If `root` cannot be read or written.
pub fn sweep_in(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        let turn = File::create(root.join(LOCK))?;
        turn.lock()?;
        sweep(root)?;
    }
    Ok(())
}

/// Removes the folders that nobody has locked. One that another user left may be out of our reach,
/// and stays.
fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        match File::open(path.join(LOCK)).map(|lock| lock.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => {}
            // Not locked, or made by an owner that was killed before it could lock.
            _ => drop(fs::remove_dir_all(&path)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_and_stays_as_long() {
        let root = tempfile::tempdir().unwrap();
        let first = Scratch::new_in(root.path()).unwrap();
        let second = Scratch::new_in(root.path()).unwrap();
        let kept = first.path().to_owned();
        assert!(kept.exists() && second.path().exists());
        drop(first);
        assert!(!kept.exists() && second.path().exists());
    }

    #[test]
    fn what_a_killed_owner_left_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let mut killed = Scratch::new_in(root.path()).unwrap();
        // A killed process removes nothing, and the kernel takes its lock away.
        killed.directory.disable_cleanup(true);
        let left = killed.path().to_owned();
        drop(killed);
        assert!(left.exists());
        let next = Scratch::new_in(root.path()).unwrap();
        assert!(!left.exists() && next.path().exists());
    }
}
