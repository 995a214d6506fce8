//! Requests of every kind on one disk: large and unaligned writes, flushes, discards and writes of zeroes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guest_agent::pattern;
use guest_agent::protocol::{Direction, Extent, Failure, FailureKind, RequestCounts};

use crate::block_ioctl;
use crate::buffer::Buffer;
use crate::failure::{OrFailure, bad_request};
use crate::pattern_io;

/// The bytes of an unaligned write: an odd number of sectors, so that most begin within a page.
const UNALIGNED: u64 = 31 * 512;

/// The distance of its memory from the start of a page.
const WITHIN_A_PAGE: usize = 512;

/// The largest extent, in bytes. A quarter of it is one write, and in memory.
const LARGEST: u64 = 64 << 20;

/// The quarters of an extent, each for one kind of request.
struct Quarters {
    large: Range<u64>,
    unaligned: Range<u64>,
    discarded: Range<u64>,
    zeroed: Range<u64>,
}

impl Quarters {
    fn of(extent: &Extent) -> Result<Self, Failure> {
        let Extent { offset, length, .. } = *extent;
        if !length.is_multiple_of(4 * 4096) || length > LARGEST {
            return Err(bad_request(format!(
                "{length} bytes are not four times a multiple of 4096, or more than {LARGEST}"
            )));
        }
        let quarter = |number: u64| {
            let start = offset + number * (length / 4);
            start..start + length / 4
        };
        Ok(Self {
            large: quarter(0),
            unaligned: quarter(1),
            discarded: quarter(2),
            zeroed: quarter(3),
        })
    }
}

/// Makes requests of every kind. Afterwards the first half of the extent has its pattern, and the second half is
/// zero, which is checked past the page cache. The extent is within the disk.
pub(crate) fn make(node: &Path, extent: &Extent) -> Result<RequestCounts, Failure> {
    let quarters = Quarters::of(extent)?;
    let disk = pattern_io::open(node, Direction::Write)?;
    let seed = extent.seed;
    let mut counts = RequestCounts::default();
    // What is discarded and zeroed below is not zero before.
    for range in [&quarters.large, &quarters.discarded, &quarters.zeroed] {
        write(&disk, seed, range, 0)?;
        flush(&disk, &mut counts)?;
    }
    let discard = || format!("discard bytes of {}", node.display());
    block_ioctl::discard(&disk, &quarters.discarded).or_failure(discard)?;
    counts.discards += 1;
    let zero = || format!("write zeroes to {}", node.display());
    block_ioctl::write_zeroes(&disk, &quarters.zeroed).or_failure(zero)?;
    counts.zero_writes += 1;
    flush(&disk, &mut counts)?;
    let mut start = quarters.unaligned.start;
    while start < quarters.unaligned.end {
        let end = quarters.unaligned.end.min(start + UNALIGNED);
        write(&disk, seed, &(start..end), WITHIN_A_PAGE)?;
        counts.unaligned_writes += 1;
        start = end;
    }
    flush(&disk, &mut counts)?;
    check(node, seed, &quarters)?;
    Ok(counts)
}

/// Writes the pattern with one call, from memory at this distance from the start of a page.
fn write(disk: &File, seed: u64, range: &Range<u64>, distance: usize) -> Result<(), Failure> {
    let length = length(range);
    let mut buffer = Buffer::new(length + distance);
    let bytes = &mut buffer.bytes()[distance..];
    pattern::fill(seed, range.start, bytes);
    disk.write_all_at(bytes, range.start)
        .or_failure(|| describe("write", range))
}

fn flush(disk: &File, counts: &mut RequestCounts) -> Result<(), Failure> {
    counts.flushes += 1;
    disk.sync_data().or_failure(|| "flush the disk".into())
}

fn check(node: &Path, seed: u64, quarters: &Quarters) -> Result<(), Failure> {
    let disk = pattern_io::open(node, Direction::Read)?;
    for range in [&quarters.large, &quarters.unaligned] {
        let found = read(&disk, range)?;
        if let Some(offset) = pattern::first_mismatch(seed, range.start, &found) {
            return Err(mismatch("the pattern", offset));
        }
    }
    for range in [&quarters.discarded, &quarters.zeroed] {
        let found = read(&disk, range)?;
        if let Some(place) = found.iter().position(|byte| *byte != 0) {
            return Err(mismatch("zeroes", range.start + place as u64));
        }
    }
    Ok(())
}

fn read(disk: &File, range: &Range<u64>) -> Result<Vec<u8>, Failure> {
    let mut buffer = Buffer::new(length(range));
    let bytes = buffer.bytes();
    let done: io::Result<()> = disk.read_exact_at(bytes, range.start);
    done.or_failure(|| describe("read", range))?;
    Ok(bytes.to_vec())
}

fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).expect("a quarter of 64 MiB at most")
}

fn describe(what: &str, range: &Range<u64>) -> String {
    format!("{what} bytes {} to {}", range.start, range.end)
}

fn mismatch(wanted: &str, offset: u64) -> Failure {
    Failure {
        kind: FailureKind::Mismatch { offset },
        message: format!("the disk does not have {wanted} at byte {offset}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use guest_agent::protocol::Serial;
    use tempfile::NamedTempFile;

    use super::*;

    const QUARTER: usize = 1 << 18;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent {
            serial: Serial("d".into()),
            seed: 5,
            offset,
            length,
        }
    }

    /// In the build's folder: a temporary folder in memory may refuse direct I/O.
    fn disk() -> NamedTempFile {
        let folder = std::env::current_exe().unwrap();
        let disk = NamedTempFile::new_in(folder.parent().unwrap()).unwrap();
        disk.as_file().set_len(5 * QUARTER as u64).unwrap();
        disk
    }

    #[test]
    fn a_file_has_no_discard_which_needs_data_first() {
        let disk = disk();
        let failure = make(disk.path(), &extent(0, 4 * QUARTER as u64)).unwrap_err();
        assert!(failure.message.starts_with("cannot discard "), "{failure}");
        let bytes = fs::read(disk.path()).unwrap();
        for quarter in [0, 2, 3] {
            let start = quarter * QUARTER;
            let written = &bytes[start..][..QUARTER];
            assert_eq!(pattern::first_mismatch(5, start as u64, written), None);
        }
        // The others are written later, or not part of the extent.
        for quarter in [1, 4] {
            let rest = &bytes[quarter * QUARTER..][..QUARTER];
            assert!(rest.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_is_not_zero_and_what_is_not_the_pattern_is_found() {
        let disk = disk();
        let quarters = Quarters::of(&extent(0, 4 * QUARTER as u64)).unwrap();
        let found = || check(disk.path(), 5, &quarters).unwrap_err().kind;
        assert_eq!(found(), FailureKind::Mismatch { offset: 0 });
        let file = disk.as_file();
        write(file, 5, &(0..2 * QUARTER as u64), 0).unwrap();
        assert_eq!(check(disk.path(), 5, &quarters), Ok(()));
        file.write_all_at(&[1], 3 * QUARTER as u64 + 9).unwrap();
        file.sync_all().unwrap();
        let offset = 3 * QUARTER as u64 + 9;
        assert_eq!(found(), FailureKind::Mismatch { offset });
    }

    #[test]
    fn an_extent_that_has_no_quarters_is_refused() {
        for length in [4096, 4 * 4096 + 512, LARGEST + 4 * 4096] {
            let failure = make(Path::new("/dev/null"), &extent(0, length)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest, "{length}");
        }
    }
}
