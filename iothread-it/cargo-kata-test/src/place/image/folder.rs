//! The files of a package's folder, as a guest gets them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guest_vm::artifacts::FileState;
use kata_test_runner::{Excludes, is_target};

use super::erofs::{Kind, Node};
use super::{ImageError, at};

/// The maximum size of a package's files, in bytes.
pub(super) const MAX_BYTES: u64 = 4 << 30;

/// The maximum number of a package's files.
pub(super) const MAX_FILES: usize = 1_000_000;

/// A package's folder at one moment.
pub(super) struct Folder {
    pub(super) root: Node,
    /// A hash of the identity and change time of each file: a new content of the same size and
    /// modification time shows.
    pub(super) changes: u64,
    /// The file that was changed last, and when.
    newest: Option<((i64, i64), PathBuf)>,
}

impl Folder {
    /// Waits until the tick of the clock ends in which a file was changed, so that every later change has
    /// another time.
    pub(super) fn settle(&self) {
        if let Some((_, path)) = &self.newest {
            // It waits; a file that is gone is found when it is packed.
            let _ = FileState::of(path);
        }
    }
}

/// Reads a folder, without `.git` folders, target directories and what is excluded. Sockets, pipes and device nodes are
/// left out.
pub(super) fn read(folder: &Path, excludes: &Excludes) -> Result<Folder, ImageError> {
    let data = fs::metadata(folder).map_err(at(folder))?;
    let mut reader = Reader {
        folder,
        excludes,
        files: 0,
        bytes: 0,
        changes: DefaultHasher::new(),
        newest: None,
    };
    let files = reader.files_of(folder)?;
    Ok(Folder {
        root: node(Kind::Directory(files), &data),
        changes: reader.changes.finish(),
        newest: reader.newest,
    })
}

struct Reader<'a> {
    folder: &'a Path,
    excludes: &'a Excludes,
    files: usize,
    bytes: u64,
    changes: DefaultHasher,
    newest: Option<((i64, i64), PathBuf)>,
}

impl Reader<'_> {
    fn files_of(&mut self, folder: &Path) -> Result<BTreeMap<OsString, Node>, ImageError> {
        let mut entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(at(folder))?;
        entries.sort_by_key(DirEntry::file_name);
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry.path();
            let data = match entry.metadata() {
                // A process has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                data => data.map_err(at(&path))?,
            };
            let relative = path.strip_prefix(self.folder).unwrap_or(&path);
            let is_excluded = entry.file_name() == ".git" || self.excludes.excludes(relative);
            // A link may lead to a target directory.
            if is_excluded || !data.is_file() && is_target(&path) {
                continue;
            }
            let changed = (data.ctime(), data.ctime_nsec());
            let kind = if data.is_dir() {
                Kind::Directory(self.files_of(&path)?)
            } else if data.is_symlink() {
                Kind::Link(fs::read_link(&path).map_err(at(&path))?.into())
            } else if data.is_file() {
                (data.ino(), changed).hash(&mut self.changes);
                if self
                    .newest
                    .as_ref()
                    .is_none_or(|(newest, _)| *newest < changed)
                {
                    self.newest = Some((changed, path.clone()));
                }
                self.bytes += data.len();
                Kind::File(path, data.len())
            } else {
                continue;
            };
            self.files += 1;
            if self.bytes > MAX_BYTES || self.files > MAX_FILES {
                return Err(ImageError::TooLarge(self.folder.into()));
            }
            files.insert(entry.file_name(), node(kind, &data));
        }
        Ok(files)
    }
}

/// Describes a file with this content.
fn node(kind: Kind, data: &Metadata) -> Node {
    Node {
        kind,
        mode: (data.mode() & 0o7777) as u16,
        modified: (data.mtime(), u32::try_from(data.mtime_nsec()).unwrap_or(0)),
    }
}
