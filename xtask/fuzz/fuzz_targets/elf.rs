//! The searches in an ELF file, compared with a search of all its bytes.

#![no_main]

#[path = "../../../constraints/runner/src/elf.rs"]
mod elf;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let memory = rustix::fs::memfd_create("elf", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.expect("a file in memory"));
    file.write_all(bytes).expect("a file in memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = Path::new(&path);
    for text in ["kata_main", ".text"] {
        for found in [
            elf::has_section(path, text),
            elf::has_content(path, text),
            elf::has_constant(path, text),
        ] {
            if found.unwrap_or(false) {
                let mut windows = bytes.windows(text.len());
                assert!(windows.any(|window| window == text.as_bytes()), "{text}");
            }
        }
    }
});
