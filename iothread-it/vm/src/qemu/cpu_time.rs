//! Reads the CPU time of threads, which shows which IOThread serves a disk.
//!
//! A property in QEMU shows only the configuration.

use std::io;

use iothread_pool::cpu_ticks;

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
        cpu_ticks(&stat)
            .map(Self)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed stat file"))
    }

    /// Returns the difference to an earlier reading, in clock ticks.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_must_exist() {
        let own = ProcessId::own().unwrap();
        assert!(CpuTicks::of(own, own.pid()).is_ok());
        assert!(CpuTicks::of(own, 1 << 30).is_err());
    }
}
