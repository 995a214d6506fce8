//! The stamp of an unpacked directory: its packages and the sizes of its files.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::store::{StoreError, at, write_atomically};
use super::closure::Closure;

const STAMP: &str = "stamp.json";
const ROOT: &str = "root";

/// Version of the stamp and of the unpacked files. Others are unpacked again.
pub(super) const SCHEMA: u8 = 1;

/// Marks a directory as complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    schema: u8,
    /// The unpacked packages.
    pub(super) closure: Closure,
    /// The finding of the check, such as a version.
    pub(super) finding: String,
    /// The size of each file below the root.
    files: BTreeMap<String, u64>,
}

/// The state of an unpacked directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All files exist with their sizes.
    Intact(Stamp),
    /// The directory is missing or incomplete.
    Absent,
    /// A file is missing or has another size.
    Damaged(String),
}

impl Stamp {
    /// Makes the stamp of a directory.
    pub(super) fn of(
        directory: &Path,
        closure: &Closure,
        finding: String,
    ) -> Result<Self, StoreError> {
        let root = directory.join(ROOT);
        let mut files = BTreeMap::new();
        list(&root, "", &mut files).map_err(at(&root))?;
        Ok(Self {
            schema: SCHEMA,
            closure: closure.clone(),
            finding,
            files,
        })
    }

    /// Writes the stamp into its directory.
    pub(super) fn write(&self, directory: &Path) -> Result<(), StoreError> {
        let path = directory.join(STAMP);
        let text = serde_json::to_vec(self).map_err(|error| at(&path)(error.into()))?;
        write_atomically(&path, &text).map_err(at(&path))
    }

    /// Compares a directory with its stamp.
    pub(super) fn check(directory: &Path) -> State {
        let text = match std::fs::read(directory.join(STAMP)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return State::Absent,
            Err(error) => return State::Damaged(format!("its stamp cannot be read: {error}")),
            Ok(text) => text,
        };
        let stamp: Self = match serde_json::from_slice(&text) {
            Ok(stamp) => stamp,
            Err(error) => return State::Damaged(format!("its stamp is damaged: {error}")),
        };
        if stamp.schema != SCHEMA {
            return State::Damaged("its stamp has another version".to_owned());
        }
        let root = directory.join(ROOT);
        match stamp
            .files
            .iter()
            .find_map(|(file, size)| fault(&root, file, *size))
        {
            Some(fault) => State::Damaged(fault),
            None => State::Intact(stamp),
        }
    }
}

fn fault(root: &Path, file: &str, size: u64) -> Option<String> {
    match root.join(file).symlink_metadata() {
        Ok(metadata) if metadata.len() == size => None,
        Ok(metadata) => Some(format!(
            "{file} has {} bytes instead of {size}",
            metadata.len()
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(format!("{file} is missing")),
        Err(error) => Some(format!("{file} cannot be read: {error}")),
    }
}

/// Lists the size of each file and link below a directory.
fn list(directory: &Path, prefix: &str, files: &mut BTreeMap<String, u64>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // Names that are not UTF-8 are skipped; no needed file has one.
        let Some(name) = name.to_str() else { continue };
        let path = format!("{prefix}{name}");
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            list(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.insert(path, metadata.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! **Scope**: presence and size. A change of the content with the same size is not detected.

    use super::*;

    fn stamped() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("root/usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("qemu"), "12345").unwrap();
        std::os::unix::fs::symlink("qemu", bin.join("link")).unwrap();
        let closure = Closure::parse(&[], |_| true).unwrap();
        let stamp = Stamp::of(directory.path(), &closure, "7.2".into()).unwrap();
        stamp.write(directory.path()).unwrap();
        directory
    }

    #[test]
    fn an_unchanged_directory_is_intact() {
        let directory = stamped();
        let State::Intact(stamp) = Stamp::check(directory.path()) else {
            panic!("not intact")
        };
        assert_eq!(stamp.finding, "7.2");
        assert_eq!(stamp.files.len(), 2);
    }

    #[test]
    fn truncated_and_missing_files_are_named() {
        for (file, expected) in [
            ("qemu", "usr/bin/qemu is missing"),
            ("link", "usr/bin/link is missing"),
        ] {
            let directory = stamped();
            std::fs::remove_file(directory.path().join("root/usr/bin").join(file)).unwrap();
            assert_eq!(
                Stamp::check(directory.path()),
                State::Damaged(expected.into())
            );
        }
        let directory = stamped();
        std::fs::write(directory.path().join("root/usr/bin/qemu"), "1234").unwrap();
        let expected = "usr/bin/qemu has 4 bytes instead of 5";
        assert_eq!(
            Stamp::check(directory.path()),
            State::Damaged(expected.into())
        );
    }

    #[test]
    fn without_a_complete_stamp_a_directory_is_not_used() {
        let directory = stamped();
        let path = directory.path().join(STAMP);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Stamp::check(directory.path()), State::Damaged(_)));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Stamp::check(directory.path()), State::Absent);
    }
}
