//! The names of an executable's sections.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Constants beyond this size are not searched.
const LARGEST_CONSTANTS: u64 = 64 << 20;

/// Returns whether an executable of this host has a section of this name. What is no ELF file has none.
pub(super) fn has_section(executable: &Path, name: &str) -> io::Result<bool> {
    match Elf::open(executable)? {
        Some(elf) => Ok(elf.find(name)?.is_some()),
        None => Ok(false),
    }
}

/// Returns whether an executable of this host has a section whose name starts so, and which is not empty.
pub(super) fn has_content(executable: &Path, prefix: &str) -> io::Result<bool> {
    let Some(elf) = Elf::open(executable)? else {
        return Ok(false);
    };
    match elf.find_bytes(prefix.as_bytes())? {
        Some(index) => Ok(elf.section(index)?.length > 0),
        None => Ok(false),
    }
}

/// Returns whether the constants of an executable of this host, its section `.rodata`, contain a text.
pub(super) fn has_constant(executable: &Path, text: &str) -> io::Result<bool> {
    let Some(elf) = Elf::open(executable)? else {
        return Ok(false);
    };
    let Some(index) = elf.find(".rodata")? else {
        return Ok(false);
    };
    let section = elf.section(index)?;
    let mut bytes = Vec::new();
    let mut file = &elf.file;
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

/// An ELF file with the byte order of this host, as its header describes it.
struct Elf {
    file: File,
    /// How long an address is: 4 or 8 bytes.
    address: u64,
    /// Where the sections' headers are, and how long each is.
    headers: u64,
    header_length: u64,
    count: u64,
    /// The section with the names.
    names: u64,
}

impl Elf {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut head = [0; 6];
        if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let is_little = head[5] == 1;
        if is_little != cfg!(target_endian = "little") {
            return Ok(None);
        }
        let mut elf = Self {
            file,
            address: if head[4] == 2 { 8 } else { 4 },
            headers: 0,
            header_length: 0,
            count: 0,
            names: 0,
        };
        // Behind the 24 bytes that are alike come three addresses and 4 + 3 × 2 bytes.
        elf.headers = elf.word(24 + 2 * elf.address, elf.address)?;
        if elf.headers == 0 {
            return Ok(None); // There is no section header table.
        }
        let rest = 24 + 3 * elf.address + 10;
        elf.header_length = elf.word(rest, 2)?;
        elf.count = elf.word(rest + 2, 2)?;
        elf.names = elf.word(rest + 4, 2)?;
        Ok(Some(elf))
    }

    /// The index of the section with this name.
    fn find(&self, name: &str) -> io::Result<Option<u64>> {
        let mut wanted = name.as_bytes().to_vec();
        wanted.push(0);
        self.find_bytes(&wanted)
    }

    /// The index of the section whose name, with the NUL that ends it, starts with these bytes.
    fn find_bytes(&self, wanted: &[u8]) -> io::Result<Option<u64>> {
        let names = self.section(self.names)?;
        for index in 0..self.count {
            let start = self.word(self.header(index), 4)?;
            let mut found = vec![0; wanted.len()];
            // A name shorter than the wanted one can stand at the end of the file.
            if start + wanted.len() as u64 <= names.length
                && self
                    .file
                    .read_exact_at(&mut found, names.offset.saturating_add(start))
                    .is_ok()
                && found == wanted
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn header(&self, index: u64) -> u64 {
        self.headers.saturating_add(index * self.header_length)
    }

    fn section(&self, index: u64) -> io::Result<Section> {
        // A name and a type of 4 bytes each, flags, an address, then these two.
        let fields = self.header(index).saturating_add(8 + 2 * self.address);
        Ok(Section {
            offset: self.word(fields, self.address)?,
            length: self.word(fields + self.address, self.address)?,
        })
    }

    fn word(&self, at: u64, length: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let length = length as usize;
        let start = if cfg!(target_endian = "little") {
            0
        } else {
            8 - length
        };
        self.file
            .read_exact_at(&mut bytes[start..start + length], at)?;
        Ok(u64::from_ne_bytes(bytes))
    }
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
