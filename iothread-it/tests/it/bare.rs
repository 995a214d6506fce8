//! A QEMU without a guest, for what QEMU answers without one. It starts in a moment, and its CPUs
//! never run.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use guest_vm::artifacts::Manifest;
use guest_vm::process::{OwnedProcess, ProcessId};
use qmp_client::command::Quit;
use qmp_client::wait::Deadline;
use qmp_client::{self, Qmp, QmpError};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::fixture::soon;

/// The number of the monitor's descriptor in QEMU's process.
const MONITOR: i32 = 3;

/// The process and its monitor.
pub(crate) struct Bare {
    /// The monitor.
    pub(crate) qmp: Qmp,
    process: OwnedProcess,
}

impl Bare {
    /// Starts QEMU with these arguments in addition to those of each bare one.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let process = OwnedProcess::spawn(command(theirs, arguments)?)?;
        let qmp = Qmp::negotiate(ours, soon())
            .with_context(|| format!("QEMU's stderr: {}", process.stderr()))?;
        Ok(Self { qmp, process })
    }

    /// Returns how QEMU ended, if it has, and its stderr.
    pub(crate) fn exit_report(&self) -> String {
        let moment = Deadline::after(Duration::from_secs(1));
        let exit = self.process.wait(moment);
        let exit = exit.map(|exit| format!("QEMU ended with {exit}; "));
        format!(
            "{}QEMU's stderr: {}",
            exit.unwrap_or_default(),
            self.process.stderr()
        )
    }

    /// Returns which process QEMU is.
    pub(crate) fn process(&self) -> ProcessId {
        self.process.id()
    }

    /// Ends QEMU.
    pub(crate) fn quit(self) -> Result<()> {
        match self.qmp.execute(&Quit {}, soon()) {
            Ok(_) | Err(QmpError::Closed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.process.wait(soon()).context("QEMU does not end")?;
        Ok(())
    }
}

/// Starts a QEMU that is to refuse its arguments, and returns its stderr.
pub(crate) fn refused_arguments(arguments: &[&str]) -> Result<String> {
    let (ours, theirs) = UnixStream::pair()?;
    let process = OwnedProcess::spawn(command(theirs, arguments)?)?;
    if Qmp::negotiate(ours, soon()).is_ok() {
        bail!("QEMU took {arguments:?}");
    }
    process.wait(soon()).context("QEMU does not end")?;
    Ok(process.stderr())
}

/// Returns QEMU's own words of a refusal.
pub(crate) fn refusal<T>(outcome: Result<T, QmpError>) -> Result<String> {
    match outcome {
        Err(QmpError::Refused { desc, .. }) => Ok(desc),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("QEMU did not refuse"),
    }
}

/// `device_add` with arguments that the libraries do not send.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct AnyDeviceAdd(pub(crate) Value);

impl qmp_client::Command for AnyDeviceAdd {
    const NAME: &'static str = "device_add";
    type Return = IgnoredAny;
}

fn command(monitor: UnixStream, arguments: &[&str]) -> Result<Command> {
    let qemu = Manifest::find()?.qemu;
    let monitor_fd = format!("socket,id=qmp,fd={MONITOR}");
    let mut command = Command::new(&qemu.program);
    command
        .args(&qemu.prefix_args)
        .envs(&qemu.env)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-S"])
        .args(["-accel", "tcg", "-chardev", monitor_fd.as_str()])
        .args(["-mon", "chardev=qmp,mode=control"])
        .args(arguments)
        .fd_mappings(vec![FdMapping {
            parent_fd: OwnedFd::from(monitor),
            child_fd: MONITOR,
        }])?;
    Ok(command)
}
