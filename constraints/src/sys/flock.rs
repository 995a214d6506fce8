//! Locks of whole files: `File::lock` needs Rust 1.89.
#![expect(unsafe_code, reason = "flock(2) has no safe form that keeps the file")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// Waits until no other process has the lock, and takes it.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, libc::LOCK_EX) {
            Err(Errno::EINTR) => {}
            taken => return Ok(taken?),
        }
    }
}

/// Takes the lock if it is free, and returns whether it was.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
        Err(Errno::EWOULDBLOCK) => Ok(false),
        taken => Ok(taken.map(|()| true)?),
    }
}

/// Releases the lock, also for other processes that share the open file.
pub(crate) fn unlock(file: &File) -> io::Result<()> {
    Ok(flock(file, libc::LOCK_UN)?)
}

fn flock(file: &File, operation: libc::c_int) -> nix::Result<()> {
    // SAFETY: the descriptor is open for as long as the call takes.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}
