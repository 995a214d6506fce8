//! Resets of SCSI disks.
#![expect(
    unsafe_code,
    reason = "an ioctl that neither nix nor rustix knows by name"
)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use guest_agent::protocol::Failure;

use crate::failure::OrFailure;

/// `SG_SCSI_RESET_DEVICE`: resets the logical unit, and nothing more if that fails.
const DEVICE: nix::libc::c_int = 1;

nix::ioctl_write_ptr_bad!(
    /// Resets the target of a block device (`SG_SCSI_RESET` of `scsi/sg.h`).
    sg_scsi_reset,
    0x2284,
    nix::libc::c_int
);

/// Resets a disk, and waits for the end of the reset.
pub(crate) fn reset(node: &Path) -> Result<(), Failure> {
    let what = || format!("reset {}", node.display());
    let disk = File::open(node).or_failure(what)?;
    // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
    let done = unsafe { sg_scsi_reset(disk.as_raw_fd(), &DEVICE) };
    done.map(drop).or_failure(what)
}
