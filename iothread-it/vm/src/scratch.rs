//! Temporary folders that are removed even if their owner is killed.
//!
//! A [`ScratchDir`] removes its folder when it is dropped. Its owner holds a lock on a file in the
//! folder, which the kernel releases when the process ends. Each new [`ScratchDir`] removes the folders
//! whose lock is free.
//!
//! The caller's folder may contain anything. Only folders with the prefix `PREFIX` are removed, and only
//! inside `DIRECTORY_NAME`, which must belong to this user and contain the file `MARKER`. If the state
//! of a lock is unknown, the folder is kept.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::artifacts::lock_within;

/// Name of the folder that contains the scratch folders.
const DIRECTORY_NAME: &str = "iothread-it-scratch";

/// Marks that folder as ours, and is locked while a scratch folder is made or removed.
const MARKER: &str = ".iothread-it-scratch";

/// Prefix of the names of scratch folders.
const PREFIX: &str = "scratch-";

/// The file in each scratch folder that its owner locks.
const LOCK_FILE: &str = ".lock";

/// How long to wait for another process that makes or removes folders.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A temporary folder, removed when this value is dropped.
#[derive(Debug)]
pub struct ScratchDir {
    directory: TempDir,
    _owned: File,
}

impl ScratchDir {
    /// Makes a folder in `ROOT/iothread-it-scratch`, and removes the folders there whose owners have
    /// ended.
    ///
    /// # Errors
    /// If `root` cannot be written, or if `iothread-it-scratch` exists and was not made by this
    /// function for this user.
    pub fn new_in(root: &Path) -> io::Result<Self> {
        let home = root.join(DIRECTORY_NAME);
        fs::create_dir_all(root)?;
        match DirBuilder::new().mode(0o700).create(&home) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _lock = lock(&home)?;
        sweep(&home)?;
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&home)?;
        let owned = File::create(directory.path().join(LOCK_FILE))?;
        owned.lock()?;
        Ok(Self {
            directory,
            _owned: owned,
        })
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the folders below `root` that [`ScratchDir::new_in`] made and whose owners have ended.
///
/// # Errors
/// If `root` cannot be read or written.
pub fn remove_orphans(root: &Path) -> io::Result<()> {
    let home = root.join(DIRECTORY_NAME);
    if home.symlink_metadata().is_ok() {
        let _lock = lock(&home)?;
        sweep(&home)?;
    }
    Ok(())
}

/// Checks that the folder with scratch folders is ours, and locks its marker. An empty folder is taken: its
/// maker was killed before it wrote the marker.
fn lock(home: &Path) -> io::Result<File> {
    let refused = |why| {
        let home = home.display();
        io::Error::other(format!(
            "{home} {why}; name another folder for scratch files"
        ))
    };
    let data = home.symlink_metadata()?;
    if !data.is_dir() || data.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("is not a folder of this user"));
    }
    let marker = home.join(MARKER);
    let is_marked = || marker.symlink_metadata().is_ok_and(|data| data.is_file());
    // Another process may write the marker meanwhile, which comes before all other files.
    if !is_marked() && fs::read_dir(home)?.next().is_some() && !is_marked() {
        return Err(refused("contains other files"));
    }
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true);
    let file = lock_within(file.open(&marker)?, LOCK_TIMEOUT)?;
    file.ok_or_else(|| {
        let text = format!(
            "{} is still locked by another process after {} s",
            marker.display(),
            LOCK_TIMEOUT.as_secs()
        );
        io::Error::new(ErrorKind::TimedOut, text)
    })
}

/// Removes the folders whose owners have ended. The caller holds the lock, so none is being made.
fn sweep(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if is_ours && entry.file_type()?.is_dir() && is_orphaned(&entry.path()) {
            // A folder that cannot be removed is left for the next sweep.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

/// Returns whether the lock of a folder is free. If that is unknown, it is not.
fn is_orphaned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK_FILE)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        },
        // Its owner was killed before it made the lock file.
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_removed_on_drop_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let first = ScratchDir::new_in(root.path()).unwrap();
        let second = ScratchDir::new_in(root.path()).unwrap();
        let kept = first.path().to_owned();
        assert!(kept.exists() && second.path().exists());
        drop(first);
        assert!(!kept.exists() && second.path().exists());
    }

    #[test]
    fn the_first_folders_may_be_made_at_once() {
        for _ in 0..200 {
            let root = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                let make = || {
                    start.wait();
                    ScratchDir::new_in(root.path()).unwrap()
                };
                let made = [0; 4].map(|_| scope.spawn(make));
                let made = made.map(|thread| thread.join().unwrap());
                assert!(made.iter().all(|folder| folder.path().exists()));
            });
        }
    }

    #[test]
    fn the_folder_of_a_killed_owner_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut killed = ScratchDir::new_in(root.path()).unwrap();
        // A killed process removes nothing, and the kernel releases its lock.
        killed.directory.disable_cleanup(true);
        let left = killed.path().to_owned();
        drop(killed);
        let unlocked = root.path().join(DIRECTORY_NAME).join("scratch-unlocked");
        fs::create_dir(&unlocked).unwrap();
        assert!(left.exists());
        let next = ScratchDir::new_in(root.path()).unwrap();
        assert!(!left.exists() && !unlocked.exists() && next.path().exists());
    }

    #[test]
    fn other_files_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join(DIRECTORY_NAME);
        drop(ScratchDir::new_in(root.path()).unwrap());
        let kept = [
            root.path().join("projects/kept"),
            root.path().join(".tmpAbCdEf"),
            home.join("kept"),
            root.path().join("scratch-of-others"),
        ];
        for folder in &kept {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("file"), "kept").unwrap();
        }
        symlink(&kept[0], home.join("scratch-link")).unwrap();
        drop(ScratchDir::new_in(root.path()).unwrap());
        remove_orphans(root.path()).unwrap();
        for folder in &kept {
            assert!(folder.join("file").exists(), "{}", folder.display());
        }
    }

    #[test]
    fn a_folder_whose_lock_cannot_be_opened_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut owner = ScratchDir::new_in(root.path()).unwrap();
        owner.directory.disable_cleanup(true);
        let folder = owner.path().to_owned();
        drop(owner);
        // The lock exists and cannot be opened, as with too many open files.
        fs::remove_file(folder.join(LOCK_FILE)).unwrap();
        symlink(LOCK_FILE, folder.join(LOCK_FILE)).unwrap();
        remove_orphans(root.path()).unwrap();
        assert!(folder.exists());
    }

    #[test]
    fn an_unmarked_folder_with_other_files_is_refused() {
        for make in [
            |home: &Path| fs::create_dir_all(home.join("src")),
            |home: &Path| symlink("/", home),
            |home: &Path| fs::write(home, ""),
        ] {
            let root = tempfile::tempdir().unwrap();
            let home = root.path().join(DIRECTORY_NAME);
            make(&home).unwrap();
            let error = ScratchDir::new_in(root.path()).unwrap_err().to_string();
            assert!(error.contains("name another folder"), "{error}");
            assert!(remove_orphans(root.path()).is_err());
        }
    }

    #[test]
    fn an_empty_unmarked_folder_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(DIRECTORY_NAME)).unwrap();
        assert!(ScratchDir::new_in(root.path()).is_ok());
    }
}
