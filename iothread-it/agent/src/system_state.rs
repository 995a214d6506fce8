//! The state of the guest that a program may leave changed for the next one.
//!
//! A mount namespace of its own undoes what root mounts, and left processes are killed. Of what else a
//! program can change, this finds the usual: it is a hint to replace the guest, not a proof that nothing
//! changed. Files are not part of it: programs of one binary share them, as on the host.

use std::ffi::OsString;
use std::fs;

/// What every program can change: description, and file.
const BY_ALL: [(&str, &str); 3] = [
    ("shared memory", "/proc/sysvipc/shm"),
    ("semaphores", "/proc/sysvipc/sem"),
    ("message queues", "/proc/sysvipc/msg"),
];

/// What root can change: description, and file or folder. A module that the kernel loads for another user
/// is harmless.
const BY_ROOT: [(&str, &str); 4] = [
    ("mounts", "/proc/self/mountinfo"),
    ("the host name", "/proc/sys/kernel/hostname"),
    ("network interfaces", "/sys/class/net"),
    ("kernel modules", "/sys/module"),
];

/// The state at one moment.
pub(crate) struct SystemState {
    as_root: bool,
    /// The description and content of each part.
    parts: Vec<(&'static str, Content)>,
}

impl SystemState {
    /// Reads what a program can change.
    pub(crate) fn read(as_root: bool) -> Self {
        let by_root = BY_ROOT.iter().filter(|_| as_root);
        let all = BY_ALL.iter().chain(by_root);
        Self {
            as_root,
            parts: all.map(|(what, path)| (*what, Content::of(path))).collect(),
        }
    }

    /// Returns what has changed since.
    pub(crate) fn changes(self) -> impl Iterator<Item = String> {
        let now = Self::read(self.as_root);
        let pairs = self.parts.into_iter().zip(now.parts);
        let changed = pairs.filter(|(before, now)| before != now);
        changed.map(|((what, _), _)| what.to_owned())
    }
}

/// The content of a file or a folder.
#[derive(PartialEq)]
enum Content {
    File(Vec<u8>),
    Folder(Vec<OsString>),
    Unreadable,
}

impl Content {
    fn of(path: &str) -> Self {
        if let Ok(text) = fs::read(path) {
            return Self::File(text);
        }
        let Ok(entries) = fs::read_dir(path) else {
            return Self::Unreadable;
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        Self::Folder(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_in_a_folder_and_new_text_of_a_file_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let before = Content::of(path);
        assert!(before == Content::of(path));
        let file = folder.path().join("file");
        fs::write(&file, "one").unwrap();
        assert!(before != Content::of(path));
        let before = Content::of(file.to_str().unwrap());
        fs::write(&file, "two").unwrap();
        assert!(before != Content::of(file.to_str().unwrap()));
        assert!(Content::of("/no/such/file") == Content::Unreadable);
    }
}
