//! A template on the disk, complete or not.

use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::error::WarmError;
use super::super::key::{self, TemplateKey};
use super::try_lock;
use crate::artifacts::{cannot, is_in_use, unless_absent};

/// The size and the time of use of a template.
#[derive(Debug)]
pub(crate) struct StoredTemplate {
    folder: PathBuf,
    pub(super) key: TemplateKey,
    /// `None` without a state file: it is removed first.
    pub(crate) used: Option<SystemTime>,
    /// Bytes on the disk. Memory that the guest did not write takes none.
    pub(crate) size: u64,
}

impl StoredTemplate {
    /// Describes the template with this memory file. Other files are `None`.
    pub(super) fn of(folder: &Path, file: &DirEntry) -> Option<Self> {
        let name = file.file_name().into_string().ok()?;
        // A process that was killed during a removal leaves the memory without the state.
        let key = TemplateKey::from_name(name.strip_suffix(".ram")?)?;
        let state = key::file(folder, &key, "state").metadata().ok();
        let on_disk = |data: fs::Metadata| data.blocks() * 512;
        let more = key::ram_kinds().skip(1);
        let more = more.filter_map(|kind| key::file(folder, &key, &kind).metadata().ok());
        let more: u64 = more.map(on_disk).sum();
        Some(Self {
            folder: folder.to_owned(),
            used: state.as_ref().and_then(|state| state.modified().ok()),
            size: on_disk(file.metadata().ok()?) + more + state.map_or(0, on_disk),
            key,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.key.as_str()
    }

    /// Returns whether a process is making the template, or a VM that was restored from it is running.
    pub(crate) fn is_in_use(&self) -> bool {
        ["ram", "lock"]
            .iter()
            .any(|kind| is_in_use(&key::file(&self.folder, &self.key, kind)))
    }

    /// Removes the template unless it is in use. Returns whether it is removed. The next one that needs it
    /// makes it again, so a failure is not an error.
    pub(crate) fn remove(&self) -> bool {
        let path = key::file(&self.folder, &self.key, "lock");
        let lock = try_lock(&path);
        let is_free = lock.is_some() && !is_in_use(&key::file(&self.folder, &self.key, "ram"));
        if is_free && remove_files(&self.folder, &self.key).is_ok() {
            let _ = fs::remove_file(&path);
            return true;
        }
        false
    }
}

/// Removes the files of a key, also those of other users. The caller holds the lock.
pub(super) fn remove_files(folder: &Path, key: &TemplateKey) -> Result<(), WarmError> {
    // The state first: without it the template is invalid. The first memory file last: by it the rest is found.
    let kinds = ["state", "hangs"].map(str::to_owned).into_iter();
    let ram: Vec<String> = key::ram_kinds().collect();
    for kind in kinds.chain(ram.into_iter().rev()) {
        let path = key::file(folder, key, &kind);
        let gone = match path.symlink_metadata() {
            Ok(data) if data.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        unless_absent(gone).map_err(cannot("access", &path))?;
    }
    Ok(())
}
