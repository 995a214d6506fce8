//! The state of the guest that a program may leave changed for the next one.
//!
//! A mount namespace of its own undoes what a program mounts, and left processes are killed. Of what else
//! root can change, this finds the usual: it is a hint to replace the guest, not a proof that nothing
//! changed. Files are not part of it: programs of one binary share them, as on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What is compared for every program: description, file.
const FILES: [(&str, &str); 5] = [
    ("mounts", "/proc/self/mountinfo"),
    ("the host name", "/proc/sys/kernel/hostname"),
    ("shared memory", "/proc/sysvipc/shm"),
    ("semaphores", "/proc/sysvipc/sem"),
    ("message queues", "/proc/sysvipc/msg"),
];

/// The description, and folder with an entry for each of what root can add.
const FOLDERS: [(&str, &str); 2] = [
    ("network interfaces", "/sys/class/net"),
    ("kernel modules", "/sys/module"),
];

/// The state at one moment.
pub(crate) struct SystemState {
    as_root: bool,
    files: [Vec<u8>; FILES.len()],
    folders: [BTreeSet<std::ffi::OsString>; FOLDERS.len()],
}

impl SystemState {
    /// Reads the state: of what root can change, too, if `as_root`. A module that the kernel loads for
    /// another user is harmless.
    pub(crate) fn read(as_root: bool) -> Self {
        Self {
            as_root,
            files: FILES.map(|(_, path)| fs::read(path).unwrap_or_default()),
            folders: FOLDERS.map(|(_, path)| match as_root {
                true => names(Path::new(path)),
                false => BTreeSet::new(),
            }),
        }
    }

    /// Returns what has changed since.
    pub(crate) fn changes(self) -> impl Iterator<Item = String> {
        let now = Self::read(self.as_root);
        let files = FILES.iter().zip(self.files.into_iter().zip(now.files));
        let files = files.filter(|(_, (before, now))| before != now);
        let folders = FOLDERS
            .iter()
            .zip(self.folders.into_iter().zip(now.folders));
        let folders = folders.filter(|(_, (before, now))| before != now);
        let files = files.map(|((what, _), _)| (*what).to_owned());
        files.chain(folders.map(|((what, _), _)| (*what).to_owned()))
    }
}

fn names(folder: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}
