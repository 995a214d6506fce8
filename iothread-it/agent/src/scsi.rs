//! What the kernel's SCSI layer does to a disk on request.
#![expect(
    unsafe_code,
    reason = "an ioctl that neither nix nor rustix knows by name"
)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use guest_agent::protocol::Failure;

use crate::failure;

/// `SG_SCSI_RESET_DEVICE`: the logical unit, and if that fails nothing wider.
const DEVICE: nix::libc::c_int = 1;

nix::ioctl_write_ptr_bad!(
    /// Resets what stands behind a block device (`SG_SCSI_RESET` of `scsi/sg.h`).
    sg_scsi_reset,
    0x2284,
    nix::libc::c_int
);

/// Resets a disk and waits until it has been.
pub(crate) fn reset(node: &Path) -> Result<(), Failure> {
    let what = format!("reset {}", node.display());
    let disk = File::open(node).map_err(|error| failure::io(&what, &error))?;
    // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
    let done = unsafe { sg_scsi_reset(disk.as_raw_fd(), &DEVICE) };
    done.map(|_| ())
        .map_err(|error| failure::io(&what, &error.into()))
}
