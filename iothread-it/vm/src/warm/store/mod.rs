//! Stores templates. One process makes each template, all processes use it, and the least recently
//! used ones are removed when the store is full.

mod stored;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::WarmError;
use super::fallback_notes;
use super::key::{self, TemplateKey};
use super::restores::{self, RestoreOutcome};
use super::template::{self, SavedState, Template, TemplateDraft};
use crate::artifacts::{Store, cannot, free_space, is_still, lock_within};
use crate::qemu::DraftRam;
use crate::scratch::{ScratchDir, remove_orphans};

pub(crate) use stored::StoredTemplate;

/// How long to wait for another process that makes the same template. On a busy host an emulated guest
/// boots for a minute.
const LOCK_TIMEOUT: Duration = Duration::from_secs(180);

/// Maximum size of all templates on disk. A suite has about a dozen templates of 100 MB.
const MAX_BYTES: u64 = 4 << 30;

/// Free space to leave on the disk.
const MIN_FREE_BYTES: u64 = 256 << 20;

/// A folder of templates.
#[derive(Debug, Clone)]
pub struct WarmStore {
    folder: PathBuf,
    limit: u64,
}

impl WarmStore {
    /// Returns the templates of a store. The folder is made with the first template.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            limit: MAX_BYTES.min(store.limit()),
            ..Self::at(store.base().join("warm"))
        }
    }

    /// Returns the templates in a folder.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder,
            limit: MAX_BYTES,
        }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of the memory file of a template, which may not exist.
    #[must_use]
    pub fn ram_of(&self, key: &TemplateKey) -> PathBuf {
        key::file(&self.folder, key, "ram")
    }

    /// Removes unfinished templates of killed processes.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn sweep(&self) -> Result<(), WarmError> {
        let drafts = self.drafts();
        Ok(remove_orphans(&drafts).map_err(cannot("access", &drafts))?)
    }

    /// Records why a guest was booted instead of restored.
    pub(crate) fn note_fallback(&self, why: &str) {
        fallback_notes::add(&self.notes(), why);
    }

    /// Removes and returns the recorded reasons.
    #[must_use]
    pub fn take_fallback_notes(&self) -> BTreeSet<String> {
        fallback_notes::take(&self.notes())
    }

    /// Returns the template of a key. If there is no usable one, this process makes it, or waits for
    /// another process that does.
    pub(crate) fn template(
        &self,
        key: &TemplateKey,
        ram_sizes: &[u64],
        make: impl FnOnce(&DraftRam) -> Result<SavedState, WarmError>,
    ) -> Result<Template, WarmError> {
        self.prepare()?;
        if let Ok(template) = template::open(&self.folder, key) {
            return Ok(template);
        }
        let _lock = self.lock(key)?;
        // Another process may have made it before it released the lock.
        if let Ok(template) = template::open(&self.folder, key) {
            return Ok(template);
        }
        stored::remove_files(&self.folder, key)?;
        self.check_free_space(ram_sizes.iter().sum())?;
        let drafts = self.drafts();
        let scratch = ScratchDir::new_in(&drafts).map_err(cannot("access", &drafts))?;
        let draft = TemplateDraft::new(scratch.path(), ram_sizes)
            .map_err(cannot("access", scratch.path()))?;
        let saved = make(draft.ram())?;
        let committed = draft.commit(&self.folder, key, &saved);
        committed.map_err(cannot("access", &self.folder))?;
        self.evict(key);
        template::open(&self.folder, key).map_err(|refusal| {
            let why = io::Error::other(format!("unusable although just made: {refusal:?}"));
            cannot("access", &key::file(&self.folder, key, "state"))(why).into()
        })
    }

    /// Records how a restore ended, and drops the template if it does not work.
    pub(crate) fn record_restore(
        &self,
        key: &TemplateKey,
        template: &Template,
        outcome: RestoreOutcome,
    ) {
        // A clone of an earlier template of this key tells nothing about the current one.
        if is_still(template.ram.file(), &self.ram_of(key))
            && restores::note(&key::file(&self.folder, key, "hangs"), outcome)
        {
            self.remove_if_same(key, template);
        }
    }

    /// Removes this template, but not a later one of the same key. If the lock is held, another process
    /// is replacing it.
    fn remove_if_same(&self, key: &TemplateKey, template: &Template) {
        let lock = try_lock(&key::file(&self.folder, key, "lock"));
        if lock.is_some() && is_still(template.ram.file(), &self.ram_of(key)) {
            let _ = stored::remove_files(&self.folder, key);
        }
    }

    /// Returns the folder for files that limit how many VMs run. Beside the templates, it is the same for
    /// all workspaces.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.beside("-slots")
    }

    /// Beside the folder, because a reason can be that the folder belongs to another user.
    fn notes(&self) -> PathBuf {
        self.beside("-notes")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.folder.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    fn drafts(&self) -> PathBuf {
        self.folder.join("drafts")
    }

    /// Makes the folder, readable only by this user, since it contains the memory of guests.
    fn prepare(&self) -> Result<(), WarmError> {
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent).map_err(cannot("access", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot("access", &self.folder)(error).into());
            }
            _ => {}
        }
        let data = self
            .folder
            .symlink_metadata()
            .map_err(cannot("access", &self.folder))?;
        match data.is_dir() && template::is_ours(&data) {
            true => Ok(()),
            false => Err(WarmError::NotPrivate {
                path: self.folder.clone(),
            }),
        }
    }

    /// Locks the template of a key. The kernel releases the lock when the process ends.
    fn lock(&self, key: &TemplateKey) -> Result<File, WarmError> {
        let path = key::file(&self.folder, key, "lock");
        loop {
            let file = open_lock(&path).map_err(cannot("access", &path))?;
            let file = lock_within(file, LOCK_TIMEOUT).map_err(cannot("access", &path))?;
            let file = file.ok_or_else(|| WarmError::LockTimeout {
                path: path.clone(),
                timeout: LOCK_TIMEOUT,
            })?;
            if is_still(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// Checks the free space. QEMU gets SIGBUS if the memory file does not fit on the disk.
    fn check_free_space(&self, ram_size: u64) -> Result<(), WarmError> {
        let free = free_space(&self.folder).map_err(cannot("access", &self.folder))?;
        let needed = ram_size + MIN_FREE_BYTES;
        match free >= needed {
            true => Ok(()),
            false => Err(WarmError::NoRoom {
                path: self.folder.clone(),
                needed,
                free,
            }),
        }
    }

    /// Removes the least recently used templates until the rest is small enough, except those that are
    /// being made or used.
    fn evict(&self, keep: &TemplateKey) {
        let mut stored = self.list();
        stored.sort_by_key(|template| std::cmp::Reverse(template.used));
        let mut total = 0;
        for template in stored {
            total += template.size;
            if total > self.limit && template.key != *keep {
                template.remove();
            }
        }
    }

    /// Lists the templates.
    pub(crate) fn list(&self) -> Vec<StoredTemplate> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| StoredTemplate::of(&self.folder, &file))
            .collect()
    }
}

/// Locks the template of a key, unless another process has locked it.
fn try_lock(path: &Path) -> Option<File> {
    let lock = open_lock(path).ok()?;
    (lock.try_lock().is_ok() && is_still(&lock, path)).then_some(lock)
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path)
}

#[cfg(test)]
mod tests;
