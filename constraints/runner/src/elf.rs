//! The sections of an executable.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use object::NativeEndian;
use object::elf::{FileHeader32, FileHeader64, SHN_UNDEF};
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader};

/// Constants beyond this size are not searched.
const LARGEST_CONSTANTS: u64 = 64 << 20;

/// Returns whether an executable of this host has a section of this name. What is no ELF file has none.
pub(super) fn has_section(executable: &Path, name: &str) -> io::Result<bool> {
    let section = find(executable, &|found| found == name.as_bytes())?;
    Ok(section.is_some())
}

/// Returns whether an executable of this host has a section whose name starts so, and which is not empty.
pub(super) fn has_content(executable: &Path, prefix: &str) -> io::Result<bool> {
    let section = find(executable, &|found| found.starts_with(prefix.as_bytes()))?;
    Ok(section.is_some_and(|section| section.length > 0))
}

/// Returns whether the constants of an executable of this host, its section `.rodata`, contain a text.
pub(super) fn has_constant(executable: &Path, text: &str) -> io::Result<bool> {
    let Some(section) = find(executable, &|found| found == b".rodata")? else {
        return Ok(false);
    };
    let mut bytes = Vec::new();
    let mut file = File::open(executable)?;
    file.seek(SeekFrom::Start(section.offset))?;
    file.take(section.length.min(LARGEST_CONSTANTS))
        .read_to_end(&mut bytes)?;
    Ok(bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes()))
}

/// Where a section is in the file.
struct Section {
    offset: u64,
    length: u64,
}

/// Finds the first section with a wanted name. Only what is needed for that is read.
fn find(executable: &Path, is_wanted: &dyn Fn(&[u8]) -> bool) -> io::Result<Option<Section>> {
    let file = File::open(executable)?;
    let mut head = [0; 6];
    if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let [.., class, byte_order] = head;
    if (byte_order == 1) != cfg!(target_endian = "little") {
        return Ok(None);
    }
    let file = ReadCache::new(file);
    let found = match class {
        // ELFCLASS64.
        2 => find_in::<FileHeader64<NativeEndian>>(&file, is_wanted),
        _ => find_in::<FileHeader32<NativeEndian>>(&file, is_wanted),
    };
    found.map_err(io::Error::other)
}

fn find_in<Header: FileHeader<Endian = NativeEndian>>(
    file: &ReadCache<File>,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> object::read::Result<Option<Section>> {
    let header = Header::parse(file)?;
    let endian = header.endian()?;
    // The sections have no names.
    if header.e_shstrndx(endian) == SHN_UNDEF {
        return Ok(None);
    }
    let sections = header.sections(endian, file)?;
    let mut all = sections.iter();
    let found = all.find(|section| sections.section_name(endian, section).is_ok_and(is_wanted));
    Ok(found.map(|section| Section {
        offset: section.sh_offset(endian).into(),
        length: section.sh_size(endian).into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_their_whole_name() {
        let this = std::env::current_exe().expect("a path");
        for (name, found) in [(".text", true), (".tex", false), ("kata_main", false)] {
            assert_eq!(has_section(&this, name).expect("a file"), found, "{name}");
        }
    }

    #[test]
    fn sections_without_names_are_not_found() {
        let mut bytes = std::fs::read(std::env::current_exe().expect("a path")).expect("a file");
        // The index of the names' section, in ELFCLASS64.
        bytes[62..64].fill(0);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stripped");
        std::fs::write(&path, bytes).expect("a file");
        assert!(!has_section(&path, ".text").expect("a file"));
    }

    #[test]
    fn a_file_without_a_section_header_table_has_no_section() {
        // Found by fuzzing: a table at offset 0, with entries of one byte, would name the section.
        let mut bytes = [0; 179];
        let parts: [(usize, &[u8]); 26] = [
            (0, b"\x7fELF\x02\x01\x01"),
            (9, b"\x03"),
            (16, b"\x01"),
            (18, b">"),
            (21, b">"),
            (23, b"\x01"),
            (25, b"\x03"),
            (35, b"\x03\x04"),
            (49, b"h"),
            (58, b"\x01"),
            (60, b">"),
            (62, b"\x01"),
            (64, b"+"),
            (68, b"\x03\x04"),
            (83, b"@"),
            (89, b"@"),
            (93, b";"),
            (107, b"kata_main"),
            (121, b"\x01"),
            (124, b"\x01"),
            (127, b"\x09"),
            (137, b"\x17"),
            (141, b"\x08"),
            (145, b"\x03"),
            (155, b"}}}}}}}}}}"),
            (174, b"*"),
        ];
        for (at, part) in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("a file");
        assert!(!has_section(file.path(), "kata_main").expect("a file"));
    }

    #[test]
    fn constants_are_found() {
        let this = std::env::current_exe().expect("a path");
        let text = std::hint::black_box("a constant of this very test");
        assert!(has_constant(&this, text).expect("a file"));
        let other: String = text.chars().rev().collect();
        assert!(!has_constant(&this, &other).expect("a file"));
    }

    #[test]
    fn what_is_no_elf_file_has_no_section() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for content in [&b""[..], b"#!/bin/sh\n", b"\x7fELF"] {
            std::fs::write(file.path(), content).expect("a file");
            assert!(!has_section(file.path(), ".text").expect("a file"));
        }
        std::fs::write(file.path(), b"\x7fELF\x02\x01\x01").expect("a file");
        assert!(
            has_section(file.path(), ".text").is_err(),
            "it is truncated"
        );
    }
}
