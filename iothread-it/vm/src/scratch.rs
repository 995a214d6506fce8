//! Folders for what a VM needs on disk and nobody needs afterwards.
//!
//! A folder is removed with its owner. An owner that is killed cannot do that, so whoever makes
//! the next folder removes those that have lost their owner: each owner holds a lock in its folder,
//! which ends with the process however that ends.
//!
//! Below a folder that a caller names there may be anything. What is removed lies in a folder of our
//! own (`HOME`), which belongs to this user and has a file that marks it (`MARK`), and its name
//! has a prefix (`PREFIX`). What is not known for certain to have lost its owner stays.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::artifacts::lock_by;

/// The folder that all folders are made in.
const HOME: &str = "iothread-it-scratch";

/// The file that marks it as ours, and that is locked while a folder in it is made or removed.
const MARK: &str = ".iothread-it-scratch";

/// How the names of the folders begin.
const PREFIX: &str = "scratch-";

/// The file in each folder that its owner has locked.
const LOCK: &str = ".lock";

/// How long others may take to make or remove folders.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes with this value.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _owned: File,
}

impl Scratch {
    /// Makes a folder below `root`, in a folder `iothread-it-scratch` there, and removes those in it
    /// whose owners are gone.
    ///
    /// # Errors
    /// If `root` cannot be written, or `iothread-it-scratch` is there and was not made by this
    /// user's [`Scratch::new_in`].
    pub fn new_in(root: &Path) -> io::Result<Self> {
        let home = root.join(HOME);
        fs::create_dir_all(root)?;
        match DirBuilder::new().mode(0o700).create(&home) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _turn = Home::at(&home)?.turn()?;
        sweep(&home)?;
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&home)?;
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

/// Removes the folders that [`Scratch::new_in`] has made below `root` and whose owners are gone.
///
/// # Errors
/// If `root` cannot be read or written.
pub fn sweep_in(root: &Path) -> io::Result<()> {
    let home = root.join(HOME);
    if home.symlink_metadata().is_ok() {
        let _turn = Home::at(&home)?.turn()?;
        sweep(&home)?;
    }
    Ok(())
}

/// A folder that is ours.
struct Home(PathBuf);

impl Home {
    /// Looks whether a folder is ours. One that is empty becomes it: who made it was killed.
    fn at(path: &Path) -> io::Result<Self> {
        let refused = |why| {
            let path = path.display();
            io::Error::other(format!(
                "{path} {why}: name another folder for scratch files"
            ))
        };
        let data = path.symlink_metadata()?;
        if !data.is_dir() || data.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused("is not a folder of this user"));
        }
        let mark = path.join(MARK);
        let is_marked = mark.symlink_metadata().is_ok_and(|data| data.is_file());
        if !is_marked && fs::read_dir(path)?.next().is_some() {
            return Err(refused("holds files of something else"));
        }
        Ok(Self(mark))
    }

    /// Waits for the right to make and remove folders.
    fn turn(&self) -> io::Result<File> {
        let mut options = File::options();
        let mark = options.create(true).truncate(false).write(true);
        let mark = lock_by(mark.open(&self.0)?, PATIENCE)?;
        mark.ok_or_else(|| {
            let text = format!(
                "another process has held {} for {} s",
                self.0.display(),
                PATIENCE.as_secs()
            );
            io::Error::new(ErrorKind::TimedOut, text)
        })
    }
}

/// Removes the folders whose owners are gone. The turn must be held, so that none is just being
/// made.
fn sweep(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if is_ours && entry.file_type()?.is_dir() && has_lost_its_owner(&entry.path()) {
            // Whatever cannot be removed stays for the next sweep.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

/// Whether nobody has locked a folder. If that cannot be told, somebody may have.
fn has_lost_its_owner(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        },
        // Its owner was killed before it could lock.
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        let unlocked = root.path().join(HOME).join("scratch-unlocked");
        fs::create_dir(&unlocked).unwrap();
        assert!(left.exists());
        let next = Scratch::new_in(root.path()).unwrap();
        assert!(!left.exists() && !unlocked.exists() && next.path().exists());
    }

    #[test]
    fn what_others_have_beside_it_stays() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join(HOME);
        drop(Scratch::new_in(root.path()).unwrap());
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
        drop(Scratch::new_in(root.path()).unwrap());
        sweep_in(root.path()).unwrap();
        for folder in &kept {
            assert!(folder.join("file").exists(), "{}", folder.display());
        }
    }

    #[test]
    fn a_folder_whose_lock_cannot_be_opened_stays() {
        let root = tempfile::tempdir().unwrap();
        let mut owner = Scratch::new_in(root.path()).unwrap();
        owner.directory.disable_cleanup(true);
        let folder = owner.path().to_owned();
        drop(owner);
        // As with too many open files, the lock is there and cannot be looked at.
        fs::remove_file(folder.join(LOCK)).unwrap();
        symlink(LOCK, folder.join(LOCK)).unwrap();
        sweep_in(root.path()).unwrap();
        assert!(folder.exists());
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        for make in [
            |home: &Path| fs::create_dir_all(home.join("src")),
            |home: &Path| symlink("/", home),
            |home: &Path| fs::write(home, ""),
        ] {
            let root = tempfile::tempdir().unwrap();
            let home = root.path().join(HOME);
            make(&home).unwrap();
            let error = Scratch::new_in(root.path()).unwrap_err().to_string();
            assert!(error.contains("name another folder"), "{error}");
            assert!(sweep_in(root.path()).is_err());
        }
    }

    #[test]
    fn who_is_killed_before_the_mark_is_made_blocks_nobody() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(HOME)).unwrap();
        assert!(Scratch::new_in(root.path()).is_ok());
    }
}
