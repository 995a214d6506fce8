//! Files that a guest sends: they stay in their folder, and their number and sizes are bounded.

#![no_main]

#[allow(dead_code, reason = "a place uses the rest")]
#[path = "../../../iothread-it/cargo-kata-test/src/place/received.rs"]
mod received;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kata_test::__runner::Folder;
use libfuzzer_sys::fuzz_target;
use received::{Limits, ReceivedFolder};

const LIMITS: Limits = Limits {
    file_bytes: 16,
    bytes: 40,
    files: 4,
    depth: 3,
    free_bytes: 0,
};

/// Number and size of the regular files below a folder, which are no deeper than the limit.
fn count(folder: &Path, depth: usize) -> (u32, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let data = path.symlink_metadata().expect("an entry");
        let (files, bytes) = match (data.is_dir(), data.is_file()) {
            (true, _) => count(&path, depth + 1),
            (_, true) => (1, data.len()),
            _ => (0, 0),
        };
        assert!(depth <= LIMITS.depth, "{path:?}");
        assert!(bytes <= LIMITS.bytes, "{path:?}");
        sum = (sum.0 + files, sum.1 + bytes);
    }
    sum
}

fuzz_target!(|sent: &[u8]| {
    let outer = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    fs::write(outer.path().join("file"), "untouched").expect("a file");
    symlink("..", inner.join("up")).expect("a link");
    symlink("../file", inner.join("out")).expect("a link");
    let (folder, _) = Folder::make(&inner).expect("a folder");
    let mut received = ReceivedFolder::new(folder, LIMITS);
    // A piece is a line: its path, its offset and its bytes.
    for line in sent.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let [path, offset, bytes] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let path = String::from_utf8_lossy(path);
        let offset = String::from_utf8_lossy(offset).parse().unwrap_or(0);
        received.receive(&path, offset, bytes);
    }
    let left_out = received.finish();
    assert!(left_out.len() <= 21, "{left_out:?}");
    let text = fs::read_to_string(outer.path().join("file")).expect("a file");
    assert_eq!(text, "untouched");
    let around = fs::read_dir(outer.path()).expect("a folder").count();
    assert_eq!(around, 2, "something is outside");
    let (files, bytes) = count(&inner, 0);
    assert!(files <= LIMITS.files && bytes <= LIMITS.bytes);
});
