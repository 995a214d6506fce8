//! Pipes that exec(3) closes.
#![expect(
    unsafe_code,
    reason = "nix has pipe2(2) only with all of its file system"
)]

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;

/// Makes a pipe: the end to read from, then the end to write to.
#[cfg(not(target_vendor = "apple"))]
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    use std::os::fd::FromRawFd;

    let mut ends = [-1; 2];
    // SAFETY: the call writes two descriptors, for which there is room.
    Errno::result(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call has just made them, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Makes a pipe: the end to read from, then the end to write to.
#[cfg(target_vendor = "apple")]
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    use std::os::fd::AsRawFd;

    let (read, write) = nix::unistd::pipe()?;
    for end in [&read, &write] {
        // SAFETY: the descriptor is open, and the call has no argument.
        Errno::result(unsafe { libc::ioctl(end.as_raw_fd(), libc::FIOCLEX) })?;
    }
    Ok((read, write))
}
