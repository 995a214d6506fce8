//! Waiting under a deadline: for something to read, and for the end of a child.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "pidfd_open(2) has no safe form")
)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The interval of checks for a child's end where the kernel has no pidfd (before Linux 5.3).
const INTERVAL: Duration = Duration::from_millis(5);
/// How long a killed child may take to end. One that hangs in the kernel outlives SIGKILL.
const GONE: Duration = Duration::from_millis(500);

/// A child that leads its process group. It stays a zombie until it is reaped, so that neither its
/// id nor its group's is another's meanwhile.
pub struct Child {
    pid: Pid,
    /// Readable when the child has ended.
    end: Option<OwnedFd>,
}

impl Child {
    /// Observes a child that leads its process group.
    pub fn of(pid: Pid) -> Self {
        Self {
            pid,
            end: pidfd(pid),
        }
    }

    /// Waits until the child has ended; `false` at the deadline.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        self.wait_or_read(&[], deadline);
        has_ended(self.pid)
    }

    /// Waits until the child has ended, one of the others is readable, or the deadline has passed.
    pub fn wait_or_read(&self, others: &[BorrowedFd<'_>], deadline: Instant) {
        let mut fds = others.to_vec();
        fds.extend(self.end.as_ref().map(AsFd::as_fd));
        if self.end.is_some() {
            readable(&fds, deadline);
            return;
        }
        while !has_ended(self.pid) {
            let now = Instant::now();
            if now >= deadline || readable(&fds, deadline.min(now + INTERVAL)) {
                return;
            }
        }
    }

    /// Kills what is left of the child's process group and reaps the child; nothing if it outlives
    /// that.
    pub fn kill_and_reap(self) -> Option<WaitStatus> {
        let _ = killpg(self.pid, Signal::SIGKILL);
        let gone = self.wait(Instant::now() + GONE);
        gone.then(|| waitpid(self.pid, None).ok())?
    }
}

/// Waits for the end of a child, which stays a zombie; `false` if it has not ended in time.
pub fn ends_within(pid: Pid, limit: Duration) -> bool {
    Child::of(pid).wait(Instant::now() + limit)
}

/// Returns whether a child has ended, and leaves it a zombie.
#[cfg(target_os = "linux")]
pub fn has_ended(pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

/// Returns whether a child has ended, and leaves it a zombie.
#[cfg(not(target_os = "linux"))]
pub fn has_ended(pid: Pid) -> bool {
    // There is no waitid(2) without reaping, and signal 0 succeeds for a zombie; getpgid(2) fails for one.
    nix::unistd::getpgid(Some(pid)).is_err()
}

/// Opens a descriptor that becomes readable when the process ends, if the kernel has pidfds.
#[cfg(target_os = "linux")]
fn pidfd(pid: Pid) -> Option<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the call succeeded, and this is the only owner of what it opened.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(not(target_os = "linux"))]
fn pidfd(_: Pid) -> Option<OwnedFd> {
    None
}

/// Returns whether a descriptor is readable now.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits until a descriptor is readable; `false` at the deadline.
pub(super) fn readable(fds: &[BorrowedFd<'_>], deadline: Instant) -> bool {
    let polled = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut polled: Vec<_> = polled.collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last millisecond is no busy loop.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, left) {
            Ok(0) if Instant::now() >= deadline => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: both ways to detect the end of a child, of which a kernel uses one.

    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// A shell in a process group of its own.
    fn shell(script: &str, with_pidfd: bool) -> Child {
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).process_group(0).spawn();
        let pid = i32::try_from(child.expect("a shell").id()).expect("a process id");
        let mut child = Child::of(Pid::from_raw(pid));
        assert!(child.end.is_some(), "this kernel is older than 5.3");
        if !with_pidfd {
            child.end = None;
        }
        child
    }

    #[test]
    fn an_end_is_seen_and_a_deadline_kept() {
        for with_pidfd in [true, false] {
            let ends = shell("exit 3", with_pidfd);
            assert!(ends.wait(Instant::now() + Duration::from_secs(60)));
            let pid = ends.pid;
            assert_eq!(ends.kill_and_reap(), Some(WaitStatus::Exited(pid, 3)));

            let start = Instant::now();
            let hangs = shell("exec sleep 1000", with_pidfd);
            assert!(!hangs.wait(start + Duration::from_millis(20)));
            assert!(start.elapsed() >= Duration::from_millis(20));
            let pid = hangs.pid;
            let killed = Some(WaitStatus::Signaled(pid, Signal::SIGKILL, false));
            assert_eq!(hangs.kill_and_reap(), killed);
            assert_eq!(waitpid(pid, None), Err(Errno::ECHILD));
        }
    }
}
