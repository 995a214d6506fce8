//! A process by number and start time: a number alone can have passed to another process.

use std::fs;
use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use qmp_client::wait::Deadline;

/// Identifies one process of this host, also after it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since the host's boot, from field 22 of `/proc/PID/stat`.
    start_time: u64,
}

impl ProcessId {
    /// Looks a running process up.
    ///
    /// # Errors
    /// If there is no such process, or `/proc` is masked.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "malformed /proc/PID/stat")
        })?;
        Ok(Self { pid, start_time })
    }

    /// Looks this process up.
    ///
    /// # Errors
    /// If `/proc` is masked.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Puts together what [`pid`](Self::pid) and [`start_time`](Self::start_time) gave.
    pub fn from_parts(pid: i32, start_time: u64) -> Self {
        Self { pid, start_time }
    }

    /// Returns its number.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// Returns its start time, in clock ticks since the host's boot.
    pub fn start_time(self) -> u64 {
        self.start_time
    }

    /// Returns whether it still runs, or is a zombie.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == self)
    }

    /// Waits until it has exited, whoever's child it is. Returns whether it has; a zombie has.
    ///
    /// # Errors
    /// If the kernel cannot tell.
    pub fn wait_exit(self, deadline: Deadline) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(true);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(true),
            pidfd => pidfd?,
        };
        // The number may have passed to another process before it was opened.
        if !self.is_alive() {
            return Ok(true);
        }
        loop {
            let timeout = Timespec::try_from(deadline.remaining()).ok();
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }
}

/// Reads field 22. The second field is the command in parentheses, and may itself hold spaces and
/// parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_with_another_start_time_is_not() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId::from_parts(own.pid(), own.start_time() + 1).is_alive());
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) S (b) R 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(start_time(stat), Some(4242));
    }
}
