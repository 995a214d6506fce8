//! An entry of the cache.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::used;
use crate::artifacts::{USED_FILE, is_in_use};
use crate::warm::StoredTemplate;

/// A part of the cache that is used and removed as a whole.
#[derive(Debug)]
pub struct CacheEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Its name, unique among its kind.
    pub name: String,
    /// Its size on the disk.
    pub bytes: u64,
    /// When it was last used; unknown for what a killed process left.
    pub used: Option<SystemTime>,
    /// The working directory of the process that used it last.
    pub user: Option<PathBuf>,
    /// Whether a process uses it now.
    pub in_use: bool,
    pub(super) files: Files,
}

#[derive(Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    Template(StoredTemplate),
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Unpacked packages: QEMU, or a kernel.
    Packages,
    /// The boot images of a kernel.
    Images,
    /// A guest agent.
    Agents,
    /// Package lists of an archive.
    Indices,
    /// The template of a VM.
    Warm,
    /// The guest of a failed test.
    Guests,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Packages,
        Self::Images,
        Self::Agents,
        Self::Indices,
        Self::Warm,
        Self::Guests,
    ];

    /// Returns the name, which is also that of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Images => "images",
            Self::Agents => "agents",
            Self::Indices => "indices",
            Self::Warm => "warm",
            Self::Guests => "guests",
        }
    }

    pub(super) fn folder(self, base: &Path) -> PathBuf {
        base.join(self.name())
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CacheEntry {
    /// Describes a folder. Returns `None` if it was removed meanwhile.
    pub(super) fn of_folder(kind: EntryKind, path: PathBuf) -> Option<Self> {
        let mark = path.join(USED_FILE);
        let user = fs::read_to_string(&mark).ok();
        Some(Self {
            kind,
            name: path.file_name()?.to_string_lossy().into_owned(),
            bytes: size_of(&path)?,
            used: used(&path, &mark),
            user: user.filter(|user| !user.is_empty()).map(PathBuf::from),
            in_use: is_in_use(&mark),
            files: Files::Folder(path),
        })
    }

    pub(super) fn of_template(template: StoredTemplate) -> Self {
        Self {
            kind: EntryKind::Warm,
            name: template.name().to_owned(),
            bytes: template.size,
            used: template.used,
            user: None,
            in_use: template.is_in_use(),
            files: Files::Template(template),
        }
    }

    /// Returns `KIND/NAME`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// Returns the size of a file, or of a folder with its content, on the disk.
fn size_of(path: &Path) -> Option<u64> {
    let data = path.symlink_metadata().ok()?;
    let own = data.blocks() * 512;
    if !data.is_dir() {
        return Some(own);
    }
    let inside = super::children(path);
    Some(own + inside.iter().filter_map(|path| size_of(path)).sum::<u64>())
}
