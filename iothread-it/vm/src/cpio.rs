//! Writes cpio archives in the `newc` format, which Linux unpacks at boot.

use std::collections::BTreeMap;

/// An archive. Its bytes depend only on the entries: no owner, no time, sorted by path.
#[derive(Debug, Default)]
pub struct Archive {
    // Sorted, so that a directory precedes its entries.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// Adds a directory. Its parents must be added too.
    pub fn directory(&mut self, path: &str, permissions: u32) {
        self.insert(path, DIRECTORY | permissions, (0, 0), Vec::new());
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.insert(path, FILE | permissions, (0, 0), content);
    }

    /// Adds a file and its missing parent directories.
    pub fn file_below(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.parents(path);
        self.file(path, permissions, content);
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if !folder.is_empty() && !self.entries.contains_key(folder) {
                self.directory(folder, 0o755);
            }
        }
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, device: (u32, u32)) {
        self.insert(path, CHARACTER_DEVICE | permissions, device, Vec::new());
    }

    fn insert(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        self.entries.insert(
            path.to_owned(),
            Entry {
                mode,
                device,
                content,
            },
        );
    }

    /// Returns the archive as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut inode = 0;
        for (path, entry) in &self.entries {
            inode += 1;
            append(&mut bytes, inode, path, entry);
        }
        append(&mut bytes, 0, "TRAILER!!!", &Entry::default());
        bytes
    }
}

fn append(bytes: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let links = if entry.mode & DIRECTORY == DIRECTORY {
        2
    } else {
        1
    };
    let fields = [
        inode,
        entry.mode,
        0, // owner
        0, // group
        links,
        0, // time
        length(entry.content.len()),
        0, // device of the file system, major
        0, // and minor
        entry.device.0,
        entry.device.1,
        length(path.len() + 1),
        0, // checksum, unused in this format
    ];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08X}").bytes());
    }
    bytes.extend(path.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.content);
    pad(bytes);
}

/// The format has 32-bit sizes; boot images are far smaller.
fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a file in a boot image is below 4 GiB")
}

/// Pads to a multiple of four, where names and contents start.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    //! **Scope**: the bytes. Every guest that boots shows that Linux unpacks them.

    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.file("dev/x", 0o755, b"hello".to_vec());
        archive.character_device("dev/console", 0o600, (5, 1));
        archive.directory("dev", 0o755);
        archive
    }

    #[test]
    fn missing_parents_are_added_and_existing_ones_are_kept() {
        let mut archive = Archive::default();
        archive.directory("a", 0o700);
        archive.file_below("a/b/c", 0o644, Vec::new());
        let text = String::from_utf8(archive.to_bytes()).unwrap();
        let modes: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| &entry[8..16])
            .collect();
        assert_eq!(modes, ["000041C0", "000041ED", "000081A4", "00000000"]);
    }

    /// Written by hand from the description of the format.
    const GOLDEN: &str = "\
        07070100000001000041ED000000000000000000000002000000000000000000000000000000000000000000000000\
        0000000400000000dev\0\0\0\
        07070100000002000021800000000000000000000000010000000000000000000000000000000000000005000000\
        010000000C00000000dev/console\0\0\0\
        07070100000003000081ED000000000000000000000001000000000000000500000000000000000000000000000000\
        0000000600000000dev/x\0hello\0\0\0\
        07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000\
        000000000B00000000TRAILER!!!\0\0\0\0";

    #[test]
    fn the_bytes_match_the_format() {
        let bytes = archive().to_bytes();
        assert_eq!(String::from_utf8(bytes).unwrap(), GOLDEN);
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_order_of_adding() {
        let mut other = Archive::default();
        other.directory("dev", 0o755);
        other.character_device("dev/console", 0o600, (5, 1));
        other.file("dev/x", 0o755, b"hello".to_vec());
        assert_eq!(other.to_bytes(), archive().to_bytes());
    }
}
