//! Discards and writes of zeroes, for which block devices have ioctls only.
#![expect(
    unsafe_code,
    reason = "ioctls that neither nix nor rustix knows by name"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

nix::ioctl_write_ptr_bad!(
    /// `BLKDISCARD` of `linux/fs.h`, with offset and length in bytes.
    blkdiscard,
    0x1277,
    [u64; 2]
);

nix::ioctl_write_ptr_bad!(
    /// `BLKZEROOUT` of `linux/fs.h`, with offset and length in bytes.
    blkzeroout,
    0x127f,
    [u64; 2]
);

/// Discards a range of a block device: its content is not needed any more.
pub(crate) fn discard(device: &File, range: &Range<u64>) -> io::Result<()> {
    let range = [range.start, range.end - range.start];
    // SAFETY: the descriptor is open, and the kernel only reads the two numbers, which outlive the call.
    unsafe { blkdiscard(device.as_raw_fd(), &range) }?;
    Ok(())
}

/// Makes a range of a block device zero, without sending zeroes if the device can do that itself.
pub(crate) fn write_zeroes(device: &File, range: &Range<u64>) -> io::Result<()> {
    let range = [range.start, range.end - range.start];
    // SAFETY: the descriptor is open, and the kernel only reads the two numbers, which outlive the call.
    unsafe { blkzeroout(device.as_raw_fd(), &range) }?;
    Ok(())
}
