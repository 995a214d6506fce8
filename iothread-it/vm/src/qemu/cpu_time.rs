//! Reads the CPU time of threads, which shows which IOThread serves a disk.
//!
//! A property in QEMU shows only the configuration.

use std::io;

use crate::process::ProcessId;

/// CPU time of one thread, in clock ticks (`sysconf(_SC_CLK_TCK)`, a hundredth of a second on
/// Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuTicks(pub u64);

impl CpuTicks {
    /// Reads the CPU time of a thread from `/proc/PID/task/TID/stat`.
    ///
    /// # Errors
    /// If the thread does not exist.
    pub fn of(process: ProcessId, thread: i32) -> io::Result<Self> {
        let path = format!("/proc/{}/task/{thread}/stat", process.pid());
        let stat = std::fs::read_to_string(path)?;
        user_and_system(&stat)
            .map(Self)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed stat file"))
    }

    /// Returns the difference to an earlier reading, in clock ticks.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Adds fields 14 (`utime`) and 15 (`stime`), counted after the closing parenthesis of the command.
fn user_and_system(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (IO (x) y) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 4242 9";
        assert_eq!(user_and_system(stat), Some(110));
    }

    #[test]
    fn the_thread_must_exist() {
        let own = ProcessId::own().unwrap();
        assert!(CpuTicks::of(own, own.pid()).is_ok());
        assert!(CpuTicks::of(own, 1 << 30).is_err());
    }
}
