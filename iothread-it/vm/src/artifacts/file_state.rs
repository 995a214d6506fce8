//! Which file it is and whether it is still as it was, without reading it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A file as it was when it was looked at.
///
/// A program can set the time of modification, but not that of the last change, so together they
/// miss nothing that was done to the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileState {
    /// Looks at a file, through links.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self::from_data(path, &path.metadata()?))
    }

    /// Looks at a file that was opened by this path.
    pub fn of_open(path: &Path, file: &File) -> std::io::Result<Self> {
        Ok(Self::from_data(path, &file.metadata()?))
    }

    fn from_data(path: &Path, data: &Metadata) -> Self {
        let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            path: path.into(),
            inode: data.ino(),
            size: data.len(),
            modified_ns: nanoseconds(data.mtime(), data.mtime_nsec()),
            changed_ns: nanoseconds(data.ctime(), data.ctime_nsec()),
        }
    }

    /// Whether the file is still there and nothing was done to it.
    pub fn still_holds(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_content_shows_even_with_the_old_size_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        assert!(before.still_holds());
        let modified = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert!(!before.still_holds());
    }

    #[test]
    fn a_file_that_took_another_s_place_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| directory.path().join(name));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!before.still_holds());
        std::fs::remove_file(&path).unwrap();
        assert!(!before.still_holds());
    }
}
