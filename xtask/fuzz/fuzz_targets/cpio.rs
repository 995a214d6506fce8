//! The archive that the host writes as a boot image, read back by another reader.
//!
//! The input's lines are the paths of files. Each has the line before it as content.

#![no_main]

#[allow(dead_code, reason = "a boot image has more kinds of entries")]
#[path = "../../../iothread-it/vm/src/cpio.rs"]
mod cpio;

use std::collections::BTreeMap;

use cpio::Archive;
use libfuzzer_sys::fuzz_target;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_600;

fuzz_target!(|text: &str| {
    let mut archive = Archive::default();
    let mut expected = BTreeMap::new();
    let mut content = "";
    for path in text.lines().filter(|line| is_path(line)) {
        for (at, _) in path.match_indices('/') {
            expected.entry(&path[..at]).or_insert((DIRECTORY, ""));
        }
        archive.file_below(path, 0o600, content.as_bytes().to_vec());
        expected.insert(path, (FILE, content));
        content = path;
    }
    let bytes = archive.to_bytes();
    let entries = read(&bytes);
    // Sorted, so that a directory precedes what is in it.
    let expected: Vec<_> = expected
        .iter()
        .map(|(path, (mode, content))| (*path, *mode, content.as_bytes()))
        .collect();
    assert_eq!(entries, expected);
});

fn is_path(text: &str) -> bool {
    !text.is_empty()
        && !text.contains('\0')
        && text != "TRAILER!!!"
        && text.split('/').all(|part| !part.is_empty())
}

/// Reads an archive up to its trailer, as the kernel's documentation of the format describes it.
fn read(mut rest: &[u8]) -> Vec<(&str, u32, &[u8])> {
    let mut entries = Vec::new();
    loop {
        let (header, after) = rest.split_at(110);
        let header = std::str::from_utf8(header).expect("a header");
        assert!(header.starts_with("070701"), "{header}");
        let field = |index: usize| {
            let digits = &header[6 + 8 * index..][..8];
            u32::from_str_radix(digits, 16).expect("a number") as usize
        };
        let (mode, length, name_length) = (field(1), field(6), field(11));
        let (name, after) = padded(after, name_length, 110);
        let (content, after) = padded(after, length, 0);
        let name = name.strip_suffix(b"\0").expect("a NUL");
        let name = std::str::from_utf8(name).expect("a name");
        if name == "TRAILER!!!" {
            assert!(after.is_empty());
            return entries;
        }
        entries.push((name, u32::try_from(mode).expect("a mode"), content));
        rest = after;
    }
}

/// Splits off so many bytes, and those that fill up to a multiple of four.
fn padded(bytes: &[u8], length: usize, before: usize) -> (&[u8], &[u8]) {
    let (taken, rest) = bytes.split_at(length);
    let padding = (before + length).next_multiple_of(4) - (before + length);
    assert_eq!(rest[..padding], [0; 3][..padding]);
    (taken, &rest[padding..])
}
