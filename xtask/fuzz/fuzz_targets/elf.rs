//! The search for an ELF section, compared with that of the `object` crate.

#![no_main]

#[allow(dead_code, reason = "the runner uses the rest")]
#[path = "../../../constraints/runner/src/elf.rs"]
mod elf;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use object::elf::FileHeader64;
use object::read::elf::FileHeader as _;

fuzz_target!(|bytes: &[u8]| {
    let memory = rustix::fs::memfd_create("elf", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.expect("a file in memory"));
    file.write_all(bytes).expect("a file in memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    for name in ["kata_main", ".text"] {
        let found = elf::has_section(Path::new(&path), name);
        if let (Ok(found), Some(expected)) = (&found, expected(bytes, name)) {
            assert_eq!(*found, expected, "{name}");
        }
    }
});

/// Returns what `object` finds, if it accepts all names of the file's sections.
fn expected(bytes: &[u8], name: &str) -> Option<bool> {
    let header = FileHeader64::<object::Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let mut found = false;
    for section in sections.iter() {
        found |= sections.section_name(endian, section).ok()? == name.as_bytes();
    }
    Some(found)
}
