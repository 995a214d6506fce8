//! Which harness a test binary has.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::elf::{has_content, has_section};
use crate::listing::MAIN_SECTION;
use crate::{Binary, RunnerError};

/// Which harness a test binary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryKind {
    /// That of kata-test.
    Annotated,
    /// libtest, or one with its options. Its tests can be listed, and run one by one.
    Plain,
    /// A `main` that may ignore its arguments: it cannot be listed without running it.
    Foreign,
}

/// The section with the tests of kata-test, which ends with a version.
const TESTS_SECTION: &str = "__libc_kata_tests_";
/// The symbols and source paths of libtest-mimic in an executable.
const MIMIC: [&[u8]; 2] = [b"13libtest_mimic", b"libtest-mimic-"];
/// A symbol of serial_test, whose locks hold within one process.
const SERIAL: [&[u8]; 1] = [b"11serial_test"];
/// Executables are searched up to this length.
const LONGEST: u64 = 1 << 30;

/// Returns which harness a binary has. The binary is not started.
///
/// # Errors
///
/// If its executable cannot be read, or if it has tests of kata-test and a `main` that does not run them.
pub fn binary_kind(binary: &Binary) -> Result<BinaryKind, RunnerError> {
    let path = &binary.executable;
    let has_tests = || has_content(path, TESTS_SECTION);
    let kind = || {
        Ok(if has_section(path, MAIN_SECTION)? {
            BinaryKind::Annotated
        } else if binary.has_libtest || contains(path, &MIMIC)? {
            BinaryKind::Plain
        } else {
            BinaryKind::Foreign
        })
    };
    let kind = kind().map_err(RunnerError::io("read", path))?;
    if kind == BinaryKind::Foreign && has_tests().map_err(RunnerError::io("read", path))? {
        let binary = binary.id.clone();
        return Err(RunnerError::AnotherMain { binary });
    }
    Ok(kind)
}

/// Returns whether tests of a binary may exclude each other by locks of serial_test, which do not hold
/// between processes.
pub(super) fn is_serial(binary: &Binary) -> bool {
    contains(&binary.executable, &SERIAL).unwrap_or(false)
}

/// Returns whether a file contains one of these.
fn contains(path: &Path, needles: &[&[u8]]) -> io::Result<bool> {
    const CHUNK: usize = 1 << 20;
    let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or(0);
    let mut file = File::open(path)?.take(LONGEST);
    let mut bytes = Vec::with_capacity(CHUNK + longest);
    loop {
        let kept = bytes.len();
        file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)?;
        if bytes.len() == kept {
            return Ok(false);
        }
        if needles.iter().any(|needle| find(&bytes, needle)) {
            return Ok(true);
        }
        let done = bytes.len().saturating_sub(longest);
        bytes.drain(..done);
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> bool {
    let mut from = 0;
    // A search for one byte is what the compiler makes fast.
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == needle[0]) {
        if bytes[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_across_chunks_and_nowhere_else() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for before in [0, 5, (1 << 20) - 4, 1 << 20] {
            let mut bytes = vec![b'1'; before];
            bytes.extend_from_slice(b"13libtest_mimic::run");
            std::fs::write(file.path(), &bytes).expect("a file");
            assert!(contains(file.path(), &MIMIC).expect("a file"), "{before}");
            bytes.truncate(before + 14);
            std::fs::write(file.path(), &bytes).expect("a file");
            assert!(!contains(file.path(), &MIMIC).expect("a file"), "{before}");
        }
    }
}
