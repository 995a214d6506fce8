//! Processes that a stopped peer left. `timeout` ends a process group, but nextest gives each test a group of its own,
//! and a process may start a session. All that a peer starts has a variable, by which it is found.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::process::ProcessId;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qmp_client::wait::Deadline;

/// How long all killed processes may take to end.
const DYING: Duration = Duration::from_secs(10);

const NAME: &str = "BENCH_PEER_RUN";

/// The variable of one run of a peer.
pub(super) struct Mark(String);

impl Mark {
    /// Gives a command the variable.
    pub(super) fn on(command: &mut Command) -> Self {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}-{run}", std::process::id());
        command.env(NAME, &value);
        Self(format!("{NAME}={value}"))
    }

    /// Kills all processes that have the variable, and waits for their end.
    ///
    /// # Errors
    /// If one cannot be killed.
    pub(super) fn kill(&self) -> Result<()> {
        let deadline = Deadline::after(DYING);
        loop {
            let found = self.processes()?;
            if found.is_empty() {
                return Ok(());
            }
            for process in &found {
                let killed = kill(Pid::from_raw(process.pid()), Signal::SIGKILL);
                ensure!(
                    matches!(killed, Ok(()) | Err(Errno::ESRCH)),
                    "cannot kill {process:?}, which a stopped peer left: {killed:?}"
                );
            }
            // They may have started others meanwhile.
            for process in found {
                ensure!(
                    process.wait_exit(deadline)?,
                    "{process:?}, which a stopped peer left, did not end within {} s of SIGKILL",
                    DYING.as_secs()
                );
            }
        }
    }

    fn processes(&self) -> Result<Vec<ProcessId>> {
        let all = fs::read_dir("/proc").context("/proc")?;
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let found = pids.filter_map(|pid| {
            let process = ProcessId::of(pid).ok()?;
            // A zombie has no variables, and those of other users cannot be read.
            let variables = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = variables.split(|byte| *byte == 0);
            variables
                .any(|variable| variable == self.0.as_bytes())
                .then_some(process)
        });
        Ok(found.collect())
    }
}
