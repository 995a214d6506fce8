//! Starts QEMU with its monitor and agent channels, and ends it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use super::error::{ExitReport, VmError};
use crate::artifacts::{Manifest, QemuInstall};
use crate::guest::Agent;
use crate::guest::protocol::Greeting;
use crate::process::OwnedProcess;
use crate::qemu::{self, Accelerator, GuestMemory, VmSpec, inherited_fds};
use crate::warm::{TemplateKey, WarmError};
use qmp_client::command::Quit;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

/// How long QEMU may take to send its greeting, after it has loaded modules and firmware.
pub(super) const QEMU_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the guest may take to boot, also under emulation on a busy host.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long QEMU may take to exit after `quit`.
const QUIT_TIMEOUT: Duration = Duration::from_secs(20);

/// What QEMU is started with.
#[derive(Clone, Copy)]
pub(super) struct LaunchSpec<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) spec: &'a VmSpec,
    pub(super) accelerator: &'a Accelerator,
}

impl<'a> LaunchSpec<'a> {
    pub(super) fn new(
        manifest: &'a Manifest,
        spec: &'a VmSpec,
        accelerator: &'a Accelerator,
    ) -> Self {
        Self {
            manifest,
            spec,
            accelerator,
        }
    }

    fn arguments(&self, memory: &GuestMemory<'_>) -> Vec<OsString> {
        qemu::arguments(self.spec, self.accelerator, self.manifest, memory)
    }

    /// Returns the part that a template can be made of, or `None` if there are cold-plugged devices.
    pub(super) fn snapshottable(self) -> Option<Snapshottable<'a>> {
        self.spec.cold.is_empty().then_some(Snapshottable(self))
    }
}

/// A launch without cold-plugged devices. Their images belong to one test, so a template cannot contain
/// them.
pub(super) struct Snapshottable<'a>(LaunchSpec<'a>);

impl<'a> Snapshottable<'a> {
    pub(super) fn launch(&self) -> &LaunchSpec<'a> {
        &self.0
    }

    /// Returns the key of the template of this guest.
    pub(super) fn key(&self) -> Result<TemplateKey, WarmError> {
        // Two measurements of one frequency differ a little.
        let accelerator = self.0.accelerator.without_tsc();
        let launch = LaunchSpec::new(self.0.manifest, self.0.spec, &accelerator);
        let arguments = launch.arguments(&GuestMemory::Anonymous);
        TemplateKey::of(self.0.manifest, &arguments).map_err(WarmError::TemplateKey)
    }
}

/// A QEMU whose monitor is ready, and the channel to the agent of a guest that may still boot.
pub(super) struct RunningQemu {
    // Dropped in this order: the channels close before QEMU is killed.
    pub(super) qmp: Qmp,
    pub(super) agent: Agent,
    pub(super) process: OwnedProcess,
}

impl RunningQemu {
    /// Starts QEMU and waits until its monitor is ready.
    pub(super) fn start(
        launch: &LaunchSpec<'_>,
        memory: &GuestMemory<'_>,
    ) -> Result<Self, VmError> {
        Self::start_with_monitor(launch, memory, Ok)
    }

    /// Like [`RunningQemu::start`]; `wrap_monitor` replaces the socket of the monitor.
    pub(super) fn start_with_monitor(
        launch: &LaunchSpec<'_>,
        memory: &GuestMemory<'_>,
        wrap_monitor: impl FnOnce(UnixStream) -> std::io::Result<UnixStream>,
    ) -> Result<Self, VmError> {
        let (qmp, qmp_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let qmp = wrap_monitor(qmp).map_err(VmError::Channel)?;
        let (agent, agent_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let mut passed = vec![
            (OwnedFd::from(qmp_theirs), inherited_fds::QMP),
            (OwnedFd::from(agent_theirs), inherited_fds::AGENT),
        ];
        for (number, file) in (inherited_fds::RAM..).zip(memory.files()) {
            let file = file.try_clone().map_err(VmError::Channel)?;
            passed.push((file.into(), number));
        }
        let mut arguments = launch.arguments(memory);
        if let (Some(trace), GuestMemory::Anonymous | GuestMemory::Template(_)) =
            (&launch.spec.trace, memory)
        {
            arguments.extend(trace.arguments());
        }
        let command = command(&launch.manifest.qemu, arguments, passed);
        let process = OwnedProcess::spawn(command)?;
        let qmp = Qmp::negotiate(qmp, Deadline::after(QEMU_TIMEOUT));
        let qmp = qmp.map_err(qmp_failed(&process))?;
        let agent = Agent::new(agent).map_err(VmError::Channel)?;
        Ok(Self {
            qmp,
            agent,
            process,
        })
    }

    /// Waits until the agent of a booting guest reports in.
    pub(super) fn wait_for_boot(&self) -> Result<Greeting, VmError> {
        self.agent
            .greeting(Deadline::after(BOOT_TIMEOUT))
            .map_err(|source| VmError::Guest {
                source,
                report: exit_report(&self.process),
            })
    }
}

fn command(qemu: &QemuInstall, arguments: Vec<OsString>, passed: Vec<(OwnedFd, i32)>) -> Command {
    let mut command = Command::new(&qemu.program);
    command
        .args(&qemu.prefix_args)
        .args(arguments)
        .envs(&qemu.env);
    let mappings = passed.into_iter().map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command
        .fd_mappings(mappings.collect())
        .expect("the descriptor numbers differ");
    command
}

/// Shuts QEMU down by `quit`.
pub(super) fn quit(qmp: &Qmp, process: &OwnedProcess) -> Result<ExitStatus, VmError> {
    let deadline = Deadline::after(QUIT_TIMEOUT);
    let missed = match qmp.execute(&Quit {}, deadline) {
        // QEMU may exit before the reply is read.
        Ok(_) | Err(QmpError::Closed { .. }) => None,
        Err(timed_out @ QmpError::TimedOut { .. }) => Some(timed_out),
        Err(source) => return Err(qmp_failed(process)(source)),
    };
    process.wait(deadline).ok_or(VmError::QuitTimeout {
        deadline,
        source: missed,
    })
}

/// Adds what QEMU wrote to an error of its monitor.
pub(super) fn qmp_failed(process: &OwnedProcess) -> impl FnOnce(QmpError) -> VmError {
    move |source| VmError::Qmp {
        source,
        report: exit_report(process),
    }
}

/// Waits up to one second for the exit: the channels of an exiting QEMU close first.
pub(super) fn exit_report(process: &OwnedProcess) -> Box<ExitReport> {
    Box::new(ExitReport {
        exit: process.wait(Deadline::after(Duration::from_secs(1))),
        stderr: process.stderr(),
        console: process.stdout(),
    })
}
