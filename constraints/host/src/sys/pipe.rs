//! Pipes that no exec(3) hands on. pipe2(2) is not everywhere; the standard library knows what is.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

/// Makes a pipe: the end to read from, then the end to write to.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = std::io::pipe().map_err(|error| {
        // It passes on what pipe(2) said.
        Errno::from_raw(error.raw_os_error().unwrap_or_default())
    })?;
    Ok((read.into(), write.into()))
}
