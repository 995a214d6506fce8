//! Marks entries of the cache as used, and as in use until this process ends.
//!
//! Each entry is a folder with the file `used`. Its modification time is the time of the last use, its
//! content the folder of the last user, and a process that uses the entry holds a shared lock on it.
//! Who removes the entry holds an exclusive lock, and so does for a moment who asks whether it is in use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::store::lock_shared_within;

/// Name of the file.
pub(crate) const USED_FILE: &str = "used";

/// How long to wait for a process that asks or removes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// The locks of this process. The kernel releases them when it ends.
static HELD: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

/// Marks an entry as used and in use.
pub(super) fn hold(entry: &Path) -> io::Result<()> {
    let path = entry.join(USED_FILE);
    let mut options = File::options();
    let options = options.create(true).truncate(false).read(true).write(true);
    let file = match options.open(&path) {
        // The entry of another user, which cannot be marked.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path)?,
        file => file?,
    };
    let file = lock_shared_within(file, LOCK_TIMEOUT)?.ok_or(io::ErrorKind::TimedOut)?;
    if !is_still(&file, &path) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // A wrong order of uses does no harm.
    let _ = mark(&file);
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.insert(entry.to_owned(), file);
    Ok(())
}

fn mark(mut file: &File) -> io::Result<()> {
    let user = std::env::current_dir()?;
    file.set_len(0)?;
    file.write_all(user.as_os_str().as_encoded_bytes())?;
    file.set_modified(SystemTime::now())
}

/// Holds the entry that contains a file. A file outside of the cache has none.
///
/// # Errors
/// If there is no such file: its entry may have been removed from the cache.
pub(super) fn hold_entry_of(file: &Path) -> io::Result<()> {
    let mut folders = file.ancestors().skip(1);
    if let Some(entry) = folders.find(|folder| folder.join(USED_FILE).is_file()) {
        hold(entry)?;
    }
    file.metadata().map(drop)
}

/// Locks an entry that no process uses. Returns `None` if one does.
pub(super) fn lock_unused(entry: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    let options = options.create(true).truncate(false).write(true);
    let file = options.open(entry.join(USED_FILE))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// Returns whether a process uses an entry with this mark.
pub(crate) fn is_in_use(mark: &Path) -> bool {
    File::open(mark).is_ok_and(|file| file.try_lock().is_err())
}

/// Returns whether an open file is still the one at this path.
pub(crate) fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_entry_is_in_use_and_marked() {
        let entry = tempfile::tempdir().unwrap();
        let mark = entry.path().join(USED_FILE);
        assert!(!is_in_use(&mark));
        hold(entry.path()).unwrap();
        assert!(is_in_use(&mark));
        assert!(lock_unused(entry.path()).unwrap().is_none());
        let user = std::fs::read_to_string(&mark).unwrap();
        assert_eq!(Path::new(&user), std::env::current_dir().unwrap());
        // As if this process had ended.
        HELD.lock().unwrap().remove(entry.path()).unwrap();
        assert!(!is_in_use(&mark));
        assert!(lock_unused(entry.path()).unwrap().is_some());
    }

    #[test]
    fn the_entry_of_a_file_is_found() {
        let entry = tempfile::tempdir().unwrap();
        let file = entry.path().join("qemu");
        std::fs::write(&file, "").unwrap();
        hold_entry_of(&file).unwrap();
        assert!(!entry.path().join(USED_FILE).exists(), "it is no entry");
        std::fs::write(entry.path().join(USED_FILE), "").unwrap();
        hold_entry_of(&file).unwrap();
        assert!(is_in_use(&entry.path().join(USED_FILE)));
        let gone = hold_entry_of(&entry.path().join("removed/vmlinux")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_waits_for_one_that_asks() {
        let entry = tempfile::tempdir().unwrap();
        let mark = entry.path().join(USED_FILE);
        let asking = File::create(&mark).unwrap();
        asking.lock().unwrap();
        let path = entry.path().to_owned();
        let holder = std::thread::spawn(move || hold(&path));
        drop(asking);
        holder.join().unwrap().unwrap();
        assert!(is_in_use(&mark));
    }
}
