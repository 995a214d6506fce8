//! Calls about files that the standard library lacks. (nix has them, but its file system feature takes as
//! long to compile as the rest of it.)
#![expect(unsafe_code, reason = "calls of the C library that have no safe form")]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

/// Checks whether the effective user may execute a file or enter a folder. (access(2) checks for the real
/// user.)
pub fn may_execute(path: &Path) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: the path ends with a NUL and outlives the call.
    let code =
        unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    Errno::result(code).map(drop)
}

/// Returns how many bytes an unprivileged user can still write below a folder, by statvfs(3). It does not
/// allocate.
pub(crate) fn free_bytes(folder: &CStr) -> Result<u64, Errno> {
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a NUL, and both it and the structure outlive the call.
    Errno::result(unsafe { libc::statvfs(folder.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it has filled the structure in.
    let stat = unsafe { stat.assume_init() };
    #[expect(
        clippy::useless_conversion,
        reason = "the width of these fields is the system's"
    )]
    Ok(u64::from(stat.f_bavail).saturating_mul(u64::from(stat.f_frsize)))
}

/// Returns the magic number of the file system at a path, by statfs(2).
#[cfg(target_os = "linux")]
pub(crate) fn file_system(path: &Path) -> Result<u64, Errno> {
    let path = c_string(path)?;
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with a NUL, and both it and the structure outlive the call.
    Errno::result(unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it has filled the structure in.
    let stat = unsafe { stat.assume_init() };
    #[expect(
        clippy::cast_sign_loss,
        reason = "the sign of the field is the architecture's, its 32 bits are not"
    )]
    Ok(stat.f_type as u64 & 0xffff_ffff)
}

/// Makes a pipe, which has no other flag, non-blocking.
pub fn set_nonblocking(pipe: impl AsFd) -> Result<(), Errno> {
    let descriptor = pipe.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `pipe` lives.
    Errno::result(unsafe { libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// A standard stream.
#[derive(Clone, Copy)]
pub enum Standard {
    Input = libc::STDIN_FILENO as isize,
    Output = libc::STDOUT_FILENO as isize,
    Error = libc::STDERR_FILENO as isize,
}

/// Redirects a standard stream to a file.
pub fn redirect(stream: Standard, to: impl AsFd) -> Result<(), Errno> {
    let descriptor = to.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `to` lives. Nobody owns the three that it may
    // replace: the standard library too only borrows them.
    Errno::result(unsafe { libc::dup2(descriptor, stream as i32) }).map(drop)
}

fn c_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}
