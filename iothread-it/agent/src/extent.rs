//! Checks extents.

use guest_agent::protocol::{Extent, Failure};

use crate::buffer::ALIGNMENT;
use crate::failure::bad_request;

/// Checks that an extent is aligned, not empty, and within a disk of `size` bytes.
pub(crate) fn check(extent: &Extent, size: u64) -> Result<(), Failure> {
    let Extent { offset, length, .. } = *extent;
    let alignment = ALIGNMENT as u64;
    if length == 0 {
        return Err(bad_request(format!("the extent at {offset} is empty")));
    }
    if !offset.is_multiple_of(alignment) || !length.is_multiple_of(alignment) {
        return Err(bad_request(format!(
            "offset {offset} and length {length} are not both multiples of {alignment}"
        )));
    }
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(bad_request(format!(
            "{length} bytes at {offset} end beyond the {size} bytes of disk {}",
            extent.serial
        ))),
    }
}

#[cfg(test)]
mod tests {
    use guest_agent::protocol::{FailureKind, Serial};

    use super::*;

    fn checked(offset: u64, length: u64) -> Result<(), Failure> {
        let extent = Extent {
            serial: Serial("d".into()),
            seed: 0,
            offset,
            length,
        };
        check(&extent, 16384)
    }

    #[test]
    fn an_extent_may_end_with_the_disk() {
        assert_eq!(checked(0, 16384), Ok(()));
        assert_eq!(checked(12288, 4096), Ok(()));
    }

    #[test]
    fn an_invalid_extent_is_refused_with_its_numbers() {
        for (offset, length) in [
            (0, 0),
            (512, 4096),
            (0, 512),
            (16384, 4096),
            (0, 20480),
            (u64::MAX - 4095, 4096),
        ] {
            let failure = checked(offset, length).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest);
            assert!(failure.message.contains(&offset.to_string()), "{failure}");
        }
    }
}
