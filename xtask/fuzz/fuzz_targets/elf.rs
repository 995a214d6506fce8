//! The search for an ELF section ends without a panic.

#![no_main]

#[allow(dead_code, reason = "the runner uses the rest")]
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
    for name in ["kata_main", ".text"] {
        let _ = elf::has_section(Path::new(&path), name);
    }
});
