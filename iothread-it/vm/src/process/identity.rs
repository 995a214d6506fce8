//! Identifies a process by pid and start time, since pids are reused.

use std::fs;
use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use qmp_client::wait::Deadline;

/// A process of this host. It stays unique after the process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since the host's boot, from field 22 of `/proc/PID/stat`.
    start_time: u64,
}

impl ProcessId {
    /// Looks up a running process.
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

    /// Looks up the calling process.
    ///
    /// # Errors
    /// If `/proc` is masked.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Returns its pid.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// Returns whether the process exists. A zombie does.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == self)
    }

    /// Waits until the process has exited; it need not be a child. Returns whether it has. A zombie has.
    ///
    /// # Errors
    /// If the process cannot be observed.
    pub fn wait_exit(self, deadline: Deadline) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(true);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(true),
            pidfd => pidfd?,
        };
        // The pid may have been reused before it was opened.
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

/// Reads field 22. The second field is the command in parentheses and may contain spaces and
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
        let other = ProcessId {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) S (b) R 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(start_time(stat), Some(4242));
    }
}
