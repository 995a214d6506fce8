//! Waiting for the end of a process with a deadline.
#![expect(unsafe_code, reason = "pidfd_open(2) has no safe form")]

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Waits for the end of a process, and says whether it was seen; an error where the kernel cannot
/// tell, which is so before Linux 5.3.
pub(crate) fn ends_within(pid: Pid, limit: Duration) -> Result<bool, Errno> {
    let fd = open(pid)?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], left) {
            // The end of another child.
            Err(Errno::EINTR) => {}
            ended => return ended.map(|count| count > 0),
        }
    }
}

#[cfg(target_os = "linux")]
fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(not(target_os = "linux"))]
fn open(_: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}
