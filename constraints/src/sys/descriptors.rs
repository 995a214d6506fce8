//! Closes descriptors.
#![expect(
    unsafe_code,
    reason = "fcntl(2) and close(2) of what somebody else owns"
)]

use std::os::fd::RawFd;

use nix::libc::{F_GETFD, FD_CLOEXEC, close, fcntl};

/// Closes the descriptors that exec(3) would close, except these. It is for a forked child, which no
/// longer uses its parent's files.
pub(crate) fn close_private_descriptors(keep: &[RawFd]) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let number = |name: std::ffi::OsString| name.to_str()?.parse::<RawFd>().ok();
    let open: Vec<_> = entries
        .filter_map(|entry| number(entry.ok()?.file_name()))
        .filter(|fd| !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: reading flags changes nothing, for any descriptor.
        let flags = unsafe { fcntl(fd, F_GETFD) };
        if flags != -1 && flags & FD_CLOEXEC != 0 {
            // SAFETY: the values that own it are the parent's, whose code does not run here.
            unsafe { close(fd) };
        }
    }
}
