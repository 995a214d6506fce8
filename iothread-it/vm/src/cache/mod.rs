//! What a user's cache contains: lists its entries, and removes the least recently used ones.
//!
//! An entry that a process uses is never removed: that process holds a shared lock on it. A process that
//! is killed holds nothing.

mod entry;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

pub use entry::{CacheEntry, EntryKind};

use crate::artifacts::{Store, StoreError, StoreLock};
use crate::warm::WarmStore;
use entry::Files;

/// The content of a cache.
#[derive(Debug)]
pub struct Cache {
    entries: Vec<CacheEntry>,
}

impl Cache {
    /// Lists the entries, the most recently used first.
    #[must_use]
    pub fn read(store: &Store) -> Self {
        let mut entries = Vec::new();
        let of_folders = EntryKind::ALL.into_iter();
        for kind in of_folders.filter(|kind| *kind != EntryKind::Warm) {
            for path in children(&kind.folder(store.base())) {
                entries.extend(CacheEntry::of_folder(kind, path));
            }
        }
        let templates = WarmStore::of(store).list();
        entries.extend(templates.into_iter().map(CacheEntry::of_template));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Self { entries }
    }

    /// Returns the entries, the most recently used first.
    #[must_use]
    pub fn entries(&self) -> &[CacheEntry] {
        &self.entries
    }

    /// Returns the size of all entries on the disk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// Removes the least recently used entries until the rest has at most `limit` bytes, except those in
    /// use. Returns the removed entries.
    ///
    /// # Errors
    /// If an entry cannot be removed.
    pub fn prune(self, limit: u64, lock: &StoreLock) -> Result<Vec<CacheEntry>, StoreError> {
        // What was downloaded and not unpacked: of failed and killed processes.
        lock.remove_downloads()?;
        let mut total = self.bytes();
        let mut removed = Vec::new();
        for entry in self.entries.into_iter().rev() {
            if total > limit && entry.remove(lock)? {
                total -= entry.bytes;
                removed.push(entry);
            }
        }
        Ok(removed)
    }

    /// Removes the entries that `chosen` selects, except those in use. Returns the removed entries, and
    /// those that are in use.
    ///
    /// # Errors
    /// If an entry cannot be removed.
    pub fn clear(
        self,
        chosen: impl Fn(&CacheEntry) -> bool,
        lock: &StoreLock,
    ) -> Result<(Vec<CacheEntry>, Vec<CacheEntry>), StoreError> {
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for entry in self.entries.into_iter().filter(chosen) {
            match entry.remove(lock)? {
                true => removed.push(entry),
                false => kept.push(entry),
            }
        }
        Ok((removed, kept))
    }
}

impl CacheEntry {
    /// Removes the entry, unless a process uses it. Returns whether it is removed.
    fn remove(&self, lock: &StoreLock) -> Result<bool, StoreError> {
        match &self.files {
            Files::Folder(path) => lock.remove_entry(path),
            Files::Template(template) => Ok(template.remove()),
        }
    }
}

fn children(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Returns the time of the last use of a folder: that of its mark, or of the folder itself.
fn used(folder: &Path, mark: &Path) -> Option<SystemTime> {
    let data = mark.metadata().or_else(|_| folder.metadata());
    data.and_then(|data| data.modified()).ok()
}

#[cfg(test)]
mod tests;
