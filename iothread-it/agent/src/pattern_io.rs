//! Writes the pattern to a disk and verifies it, both past the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use guest_agent::pattern;
use guest_agent::protocol::{Direction, Extent, Failure, FailureKind};
use nix::libc::O_DIRECT;
use sha2::{Digest, Sha256};

use crate::buffer::Buffer;
use crate::failure::{self, OrFailure};

/// The size of one read or write, in bytes.
const CHUNK: usize = 256 * 1024;

/// Opens a disk for direct I/O, so that reads come from the disk and not from the page cache.
pub(crate) fn open(node: &Path, direction: Direction) -> Result<File, Failure> {
    let write = direction == Direction::Write;
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(O_DIRECT)
        .open(node)
        .or_failure(|| format!("open {}", node.display()))
}

/// Returns the path of a disk's device node.
pub(crate) fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

/// Writes the pattern of an extent and flushes it. Returns the SHA-256 of the bytes written.
pub(crate) fn write(node: &Path, extent: &Extent) -> Result<String, Failure> {
    let file = open(node, Direction::Write)?;
    let mut buffer = Buffer::new(CHUNK);
    let mut sum = Sha256::new();
    for place in chunks(extent) {
        let bytes = &mut buffer.bytes()[..length(&place)];
        pattern::fill(extent.seed, place.start, bytes);
        let what = describe("write", &place, node);
        let moved = retried(|| file.write_at(bytes, place.start));
        whole(&what, moved, bytes.len())?;
        sum.update(&*bytes);
    }
    file.sync_data()
        .or_failure(|| format!("flush {}", node.display()))?;
    Ok(hexadecimal(&sum.finalize()))
}

/// Reads an extent and compares it with its pattern. Returns the SHA-256 of the bytes read.
pub(crate) fn verify(node: &Path, extent: &Extent) -> Result<String, Failure> {
    let file = open(node, Direction::Read)?;
    let mut buffer = Buffer::new(CHUNK);
    let mut sum = Sha256::new();
    for place in chunks(extent) {
        let bytes = &mut buffer.bytes()[..length(&place)];
        let what = describe("read", &place, node);
        let moved = retried(|| file.read_at(bytes, place.start));
        whole(&what, moved, bytes.len())?;
        if let Some(offset) = pattern::first_mismatch(extent.seed, place.start, bytes) {
            return Err(mismatch(extent, offset));
        }
        sum.update(&*bytes);
    }
    Ok(hexadecimal(&sum.finalize()))
}

/// Returns the ranges of an extent's chunks. The end does not overflow: extents are checked before.
fn chunks(extent: &Extent) -> impl Iterator<Item = Range<u64>> {
    let end = extent.offset + extent.length;
    (extent.offset..end)
        .step_by(CHUNK)
        .map(move |start| start..end.min(start.saturating_add(CHUNK as u64)))
}

fn length(place: &Range<u64>) -> usize {
    usize::try_from(place.end - place.start).expect("a chunk fits into memory")
}

fn describe(what: &str, place: &Range<u64>, node: &Path) -> String {
    format!(
        "{what} bytes {} to {} of {}",
        place.start,
        place.end,
        node.display()
    )
}

fn retried(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Checks that all bytes were transferred. Direct I/O within a disk is short only after an error of the
/// disk, so it is not retried.
fn whole(what: &str, moved: io::Result<usize>, asked: usize) -> Result<(), Failure> {
    match moved {
        Ok(moved) if moved == asked => Ok(()),
        // Without an error number, as for a disk that is being removed.
        Ok(moved) => Err(Failure {
            kind: FailureKind::Io { errno: None },
            message: format!("cannot {what}: only {moved} of {asked} bytes were transferred"),
        }),
        Err(error) => Err(failure::io(what, &error)),
    }
}

fn mismatch(extent: &Extent, offset: u64) -> Failure {
    Failure {
        kind: FailureKind::Mismatch { offset },
        message: format!(
            "disk {} differs from the pattern with seed {} at byte {offset}",
            extent.serial, extent.seed
        ),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use guest_agent::protocol::Serial;
    use tempfile::NamedTempFile;

    use super::*;

    const SIZE: u64 = 1 << 20;

    /// In the build's folder: a temporary folder in memory may refuse direct I/O.
    fn disk() -> NamedTempFile {
        let folder = std::env::current_exe().unwrap();
        let disk = NamedTempFile::new_in(folder.parent().unwrap()).unwrap();
        disk.as_file().set_len(SIZE).unwrap();
        disk
    }

    fn extent(seed: u64, offset: u64, length: u64) -> Extent {
        Extent {
            serial: Serial("d".into()),
            seed,
            offset,
            length,
        }
    }

    #[test]
    fn what_was_written_is_verified_with_the_same_sum() {
        let disk = disk();
        // More than a chunk, and no multiple of it.
        let extent = extent(1, 4096, CHUNK as u64 + 8192);
        let written = write(disk.path(), &extent).unwrap();
        let mut expected = vec![0; CHUNK + 8192];
        pattern::fill(1, 4096, &mut expected);
        assert_eq!(written, hexadecimal(&Sha256::digest(&expected)));
        assert_eq!(
            &fs::read(disk.path()).unwrap()[4096..][..expected.len()],
            expected
        );
        assert_eq!(verify(disk.path(), &extent).unwrap(), written);
    }

    #[test]
    fn neighbours_of_an_extent_are_not_touched() {
        let disk = disk();
        write(disk.path(), &extent(1, 4096, 4096)).unwrap();
        let all = fs::read(disk.path()).unwrap();
        assert!(
            all[..4096]
                .iter()
                .chain(&all[8192..])
                .all(|&byte| byte == 0)
        );
    }

    #[test]
    fn a_changed_byte_is_found_in_the_second_chunk() {
        let disk = disk();
        write(disk.path(), &extent(1, 0, SIZE)).unwrap();
        let changed = CHUNK as u64 + 24;
        let [mut byte] = [0];
        disk.as_file()
            .read_exact_at(std::slice::from_mut(&mut byte), changed)
            .unwrap();
        disk.as_file().write_all_at(&[!byte], changed).unwrap();
        disk.as_file().sync_all().unwrap();
        let failure = verify(disk.path(), &extent(1, 0, SIZE)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Mismatch { offset: changed });
    }

    #[test]
    fn a_disk_that_shrank_is_an_error_without_a_number() {
        let disk = disk();
        let failure = verify(disk.path(), &extent(1, SIZE, 4096)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Io { errno: None });
        assert!(failure.message.contains("0 of 4096"), "{failure}");
    }

    #[test]
    fn an_error_of_the_kernel_keeps_its_number() {
        let failure = write(Path::new("/proc/version/none"), &extent(0, 0, 4096)).unwrap_err();
        let errno = Some(nix::libc::ENOTDIR);
        assert_eq!(failure.kind, FailureKind::Io { errno });
    }
}
