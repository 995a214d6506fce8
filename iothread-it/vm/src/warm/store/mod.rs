//! Where templates lie: one process makes each, all use it, and the oldest go when there are too
//! many.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entry::{self, Draft, Saved, Template};
use super::error::{WarmError, at};
use super::key::{self, Key};
use super::notes;
use super::restores::{self, RestoreOutcome};
use crate::artifacts::{Store, lock_by};
use crate::qemu::DraftRam;
use crate::scratch::{Scratch, sweep_in};

/// How long another process may take to make the template that this one needs too. On a busy host
/// an emulated guest boots for a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bytes on disk that all templates together may take. A suite has a dozen shapes, and a template
/// takes about 100 MB.
const LIMIT: u64 = 4 << 30;

/// What must be left on the disk beside a template.
const MARGIN: u64 = 256 << 20;

/// The templates of one target directory.
#[derive(Debug, Clone)]
pub struct WarmStore {
    folder: PathBuf,
    limit: u64,
}

impl WarmStore {
    /// Returns the templates of a store. Nothing is made until one is needed.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self::at(store.base().join("warm"))
    }

    /// Returns the templates in a folder.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder,
            limit: LIMIT,
        }
    }

    /// Returns where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns where the memory of a key's template is, if there is one.
    #[must_use]
    pub fn ram_of(&self, key: &Key) -> PathBuf {
        key::file(&self.folder, key, "ram")
    }

    /// Removes what a killed process has left half made.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn sweep(&self) -> Result<(), WarmError> {
        let drafts = self.drafts();
        sweep_in(&drafts).map_err(at(&drafts))
    }

    /// Notes why a guest was booted that was to be restored.
    pub fn note(&self, why: &str) {
        notes::add(&self.notes(), why);
    }

    /// Returns what was noted since the last time.
    #[must_use]
    pub fn take_notes(&self) -> BTreeSet<String> {
        notes::take(&self.notes())
    }

    /// Returns the template of a key. If there is none, or none that can be trusted, one is made,
    /// by this process or by another that does so already.
    pub(crate) fn template(
        &self,
        key: &Key,
        ram_size: u64,
        make: impl FnOnce(&DraftRam) -> Result<Saved, WarmError>,
    ) -> Result<Template, WarmError> {
        self.prepare()?;
        if let Ok(template) = entry::open(&self.folder, key) {
            return Ok(template);
        }
        let _lock = self.lock(key)?;
        // Whoever had the lock before has made it.
        if let Ok(template) = entry::open(&self.folder, key) {
            return Ok(template);
        }
        self.remove(key)?;
        self.make_room_on_disk(ram_size)?;
        let drafts = self.drafts();
        let scratch = Scratch::new_in(&drafts).map_err(at(&drafts))?;
        let draft = Draft::new(scratch.path(), ram_size).map_err(at(scratch.path()))?;
        let saved = make(draft.ram())?;
        let committed = draft.commit(&self.folder, key, &saved);
        committed.map_err(at(&self.folder))?;
        self.evict(key);
        entry::open(&self.folder, key).map_err(|refusal| WarmError::Io {
            path: key::file(&self.folder, key, "state"),
            source: io::Error::other(format!("it was just made: {refusal:?}")),
        })
    }

    /// Notes how a restore from a template ended, and drops a template that is shown to be of no use.
    pub(crate) fn record_restore(&self, key: &Key, template: &Template, outcome: RestoreOutcome) {
        // What was restored from an earlier one of this key tells nothing about this one.
        if is_still(template.ram.file(), &self.ram_of(key))
            && restores::note(&key::file(&self.folder, key, "hangs"), outcome)
        {
            self.forget(key, template);
        }
    }

    /// Removes a template, and no later one of the same key. While another process makes one there is
    /// nothing to remove, so its lock is not waited for.
    fn forget(&self, key: &Key, template: &Template) {
        let path = key::file(&self.folder, key, "lock");
        let Ok(lock) = open_lock(&path) else { return };
        let ours = lock.try_lock().is_ok() && is_still(&lock, &path);
        if ours && is_still(template.ram.file(), &self.ram_of(key)) {
            let _ = self.remove(key);
        }
    }

    /// Beside the folder: that somebody else has made it may be what there is to note.
    fn notes(&self) -> PathBuf {
        let mut name = self.folder.as_os_str().to_owned();
        name.push("-notes");
        name.into()
    }

    fn drafts(&self) -> PathBuf {
        self.folder.join("drafts")
    }

    /// Makes the folder, which nobody else may look into: it holds a guest's memory.
    fn prepare(&self) -> Result<(), WarmError> {
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at(&self.folder)(error));
            }
            _ => {}
        }
        self.is_ours()
    }

    fn is_ours(&self) -> Result<(), WarmError> {
        let data = self.folder.symlink_metadata().map_err(at(&self.folder))?;
        match data.is_dir() && entry::is_ours(&data) {
            true => Ok(()),
            false => Err(WarmError::Foreign {
                path: self.folder.clone(),
            }),
        }
    }

    /// Waits for the right to make, or remove, the template of a key. The kernel takes it back
    /// from a process that dies.
    fn lock(&self, key: &Key) -> Result<File, WarmError> {
        let path = key::file(&self.folder, key, "lock");
        loop {
            let file = open_lock(&path).map_err(at(&path))?;
            let file = lock_by(file, PATIENCE).map_err(at(&path))?;
            let file = file.ok_or_else(|| WarmError::Busy {
                path: path.clone(),
                patience: PATIENCE,
            })?;
            if is_still(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// Removes the files of a key, whoever's they are: the folder is ours. Its lock must be held.
    fn remove(&self, key: &Key) -> Result<(), WarmError> {
        // The state first: without it the memory is no template.
        for kind in ["state", "ram", "hangs"] {
            let path = key::file(&self.folder, key, kind);
            let gone = match path.symlink_metadata() {
                Ok(data) if data.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A guest whose memory does not fit on the disk would be killed when it writes to it.
    fn make_room_on_disk(&self, ram_size: u64) -> Result<(), WarmError> {
        let stat = rustix::fs::statvfs(&self.folder).map_err(io::Error::from);
        let stat = stat.map_err(at(&self.folder))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = ram_size + MARGIN;
        match free >= needed {
            true => Ok(()),
            false => Err(WarmError::NoRoom {
                path: self.folder.clone(),
                needed,
                free,
            }),
        }
    }

    /// Removes what was used longest ago until the rest is small enough. What is being made is
    /// left alone, and what is in use goes on: its files are open.
    fn evict(&self, keep: &Key) {
        let mut entries = self.entries();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut total = 0;
        for entry in entries {
            total += entry.size;
            if total <= self.limit || entry.key == *keep {
                continue;
            }
            let path = key::file(&self.folder, &entry.key, "lock");
            let Ok(lock) = open_lock(&path) else { continue };
            if lock.try_lock().is_ok() && is_still(&lock, &path) {
                let _ = self.remove(&entry.key);
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| {
                let name = file.file_name().into_string().ok()?;
                // A key whose state is gone has its memory left, if a process was killed there.
                let key = Key::from_name(name.strip_suffix(".ram")?)?;
                let state = key::file(&self.folder, &key, "state").metadata().ok();
                let on_disk = |data: fs::Metadata| data.blocks() * 512;
                Some(Entry {
                    used: state.as_ref().and_then(|state| state.modified().ok()),
                    size: on_disk(file.metadata().ok()?) + state.map_or(0, on_disk),
                    key,
                })
            })
            .collect()
    }
}

/// What is known of a template without looking into it.
struct Entry {
    key: Key,
    /// Nothing, if there is no state: it goes first.
    used: Option<SystemTime>,
    size: u64,
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path)
}

/// Whether a locked file is the one at its path: whoever had the lock before may have removed it.
fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
