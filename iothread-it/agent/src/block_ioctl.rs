//! Discards, writes of zeroes and resets, for which block devices have ioctls only.
#![expect(
    unsafe_code,
    reason = "ioctls that neither nix nor rustix knows by name"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

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

nix::ioctl_write_ptr_bad!(
    /// Resets the target of a block device (`SG_SCSI_RESET` of `scsi/sg.h`).
    sg_scsi_reset,
    0x2284,
    nix::libc::c_int
);

/// `SG_SCSI_RESET_DEVICE`: resets the logical unit, and nothing more if that fails.
const DEVICE: nix::libc::c_int = 1;

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

/// Resets a SCSI disk, and waits for the end of the reset.
pub(crate) fn reset(node: &Path) -> io::Result<()> {
    let disk = File::open(node)?;
    // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
    unsafe { sg_scsi_reset(disk.as_raw_fd(), &DEVICE) }?;
    Ok(())
}
