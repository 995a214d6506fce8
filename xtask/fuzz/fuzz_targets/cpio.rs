//! The archive that the guest agent unpacks, and the one that the host writes.

#![no_main]

#[allow(dead_code, reason = "a boot image has more kinds of entries")]
#[path = "../../../iothread-it/vm/src/cpio.rs"]
mod cpio;
#[allow(dead_code, reason = "the agent reads the archive from a disk")]
#[path = "../../../iothread-it/agent/src/unpack.rs"]
mod unpack;

use std::path::Path;

use cpio::Archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    arbitrary_bytes(bytes);
    round_trip(bytes);
});

/// Unpacks what may be no archive.
fn arbitrary_bytes(bytes: &[u8]) {
    let has = |byte: u8| bytes.contains(&byte);
    let leaves = has(b'/') || bytes.windows(2).any(|two| two == b"..");
    // A path through a link can lead out of the folder. The mode of a link has an A.
    if leaves && (has(b'a') || has(b'A')) {
        return;
    }
    let (folder, disk) = place();
    std::fs::write(&disk, bytes).expect("a file");
    if let Ok((entries, content)) = unpack::disk(&disk, &folder.path().join("root")) {
        assert!(entries <= bytes.len() as u64 / 110);
        assert!(content <= bytes.len() as u64);
    }
}

/// Makes an archive of the input's lines, each a file with the line before it as content, and unpacks it.
fn round_trip(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut archive = Archive::default();
    let mut expected = std::collections::BTreeMap::new();
    let mut content = "";
    for line in text.lines().filter(|line| is_name(line)).take(20) {
        archive.file(line, 0o600, content.as_bytes().to_vec());
        expected.insert(line, content);
        content = line;
    }
    let (folder, disk) = place();
    std::fs::write(&disk, archive.to_bytes()).expect("a file");
    let root = folder.path().join("root");
    let (entries, _) = unpack::disk(&disk, &root).expect("an archive");
    assert_eq!(entries, expected.len() as u64);
    for (name, content) in expected {
        let read = std::fs::read(root.join(name)).expect("an unpacked file");
        assert_eq!(read, content.as_bytes(), "{name}");
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.contains(['/', '\0'])
        && ![".", "..", "TRAILER!!!"].contains(&text)
}

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    std::fs::create_dir(folder.path().join("root")).expect("a folder");
    let disk = folder.path().join("disk");
    (folder, disk)
}
