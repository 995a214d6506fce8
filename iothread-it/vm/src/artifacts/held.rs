//! Marks entries of the cache as used, and as in use until this process ends.
//!
//! Each entry is a folder with the file `used`. Its modification time is the time of the last use, its
//! content the folder of the last user, and a process that uses the entry holds a shared lock on it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Name of the file.
pub(super) const USED_FILE: &str = "used";

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
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other("the entry is being removed"));
        }
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
pub(super) fn hold_entry_of(file: &Path) -> io::Result<()> {
    let mut folders = file.ancestors().skip(1);
    match folders.find(|folder| folder.join(USED_FILE).is_file()) {
        Some(entry) => hold(entry),
        None => Ok(()),
    }
}
