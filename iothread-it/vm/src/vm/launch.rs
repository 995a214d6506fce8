//! QEMU as a process with its channels, before anybody knows what its guest does.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use super::error::{LastWords, VmError};
use crate::artifacts::{Manifest, QemuInstall};
use crate::guest::Agent;
use crate::guest::protocol::Greeting;
use crate::process::OwnedProcess;
use crate::qemu::{self, Accelerator, Memory, Shape, Wiring};
use crate::warm::{Key, WarmError};
use qmp_client::command::Quit;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

/// How long QEMU may take to greet. It loads its modules and firmware before that.
pub(super) const QEMU_SPAN: Duration = Duration::from_secs(30);

/// How long the guest may take to boot, under emulation on a busy host.
const BOOT_SPAN: Duration = Duration::from_secs(120);

/// How long QEMU may take to end after `quit`.
const QUIT_SPAN: Duration = Duration::from_secs(20);

/// What is started.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) shape: &'a Shape,
    pub(super) accelerator: &'a Accelerator,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        manifest: &'a Manifest,
        shape: &'a Shape,
        accelerator: &'a Accelerator,
    ) -> Self {
        Self {
            manifest,
            shape,
            accelerator,
        }
    }

    fn arguments(&self, memory: &Memory<'_>) -> Vec<OsString> {
        qemu::arguments(
            self.shape,
            self.accelerator,
            self.manifest,
            Wiring::default(),
            memory,
        )
    }

    /// Returns it as one of which copies can be made, if they can.
    pub(super) fn savable(self) -> Option<Savable<'a>> {
        self.shape.cold.is_empty().then_some(Savable(self))
    }
}

/// What is started, and has no device from the start: its image would be one test's own, and a
/// template would know it as it was.
pub(super) struct Savable<'a>(Plan<'a>);

impl<'a> Savable<'a> {
    pub(super) fn plan(&self) -> &Plan<'a> {
        &self.0
    }

    /// Returns what a template of this guest is found by.
    pub(super) fn key(&self) -> Result<Key, WarmError> {
        let arguments = self.0.arguments(&Memory::Own);
        Key::of(self.0.manifest, &arguments).map_err(WarmError::Key)
    }
}

/// A QEMU that has greeted, and a channel to an agent that may not have.
pub(super) struct Launched {
    // Dropped in this order: the channels first, so that their readers end in peace.
    pub(super) qmp: Qmp,
    pub(super) agent: Agent,
    pub(super) process: OwnedProcess,
}

impl Launched {
    /// Starts QEMU and waits for it to greet.
    pub(super) fn start(plan: &Plan<'_>, memory: &Memory<'_>) -> Result<Self, VmError> {
        Self::start_through(plan, memory, Ok)
    }

    /// Starts QEMU, puts something between it and us, and waits for it to greet.
    pub(super) fn start_through(
        plan: &Plan<'_>,
        memory: &Memory<'_>,
        between: impl FnOnce(UnixStream) -> std::io::Result<UnixStream>,
    ) -> Result<Self, VmError> {
        let (qmp, qmp_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let qmp = between(qmp).map_err(VmError::Channel)?;
        let (agent, agent_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let wiring = Wiring::default();
        let mut passed = vec![
            (OwnedFd::from(qmp_theirs), wiring.qmp),
            (OwnedFd::from(agent_theirs), wiring.agent),
        ];
        if let Some(file) = memory.file() {
            let file = file.try_clone().map_err(VmError::Channel)?;
            passed.push((file.into(), wiring.ram));
        }
        let mut arguments = plan.arguments(memory);
        if let (Some(trace), Memory::Own | Memory::Template(_)) = (&plan.shape.trace, memory) {
            arguments.extend(trace.arguments());
        }
        let command = command(&plan.manifest.qemu, arguments, passed);
        let process = OwnedProcess::spawn(command)?;
        let qmp =
            Qmp::negotiate(qmp, Deadline::after(QEMU_SPAN)).map_err(|source| VmError::Qmp {
                source,
                words: last_words(&process),
            })?;
        let agent = Agent::new(agent).map_err(VmError::Channel)?;
        Ok(Self {
            qmp,
            agent,
            process,
        })
    }

    /// Waits until the guest has booted.
    pub(super) fn booted(&self) -> Result<Greeting, VmError> {
        self.agent
            .greeting(Deadline::after(BOOT_SPAN))
            .map_err(|source| VmError::Guest {
                source,
                words: last_words(&self.process),
            })
    }

    /// Adds to an error of the monitor what QEMU said.
    pub(super) fn told(&self, source: QmpError) -> VmError {
        VmError::Qmp {
            source,
            words: last_words(&self.process),
        }
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
        .expect("the numbers differ");
    command
}

/// Ends QEMU in an orderly way.
pub(super) fn quit(qmp: &Qmp, process: &OwnedProcess) -> Result<ExitStatus, VmError> {
    let deadline = Deadline::after(QUIT_SPAN);
    let missed = match qmp.execute(&Quit {}, deadline) {
        // The end of the channel can overtake the reply.
        Ok(_) | Err(QmpError::Closed { .. }) => None,
        Err(timed_out @ QmpError::TimedOut { .. }) => Some(timed_out),
        Err(source) => {
            return Err(VmError::Qmp {
                source,
                words: last_words(process),
            });
        }
    };
    process.wait(deadline).ok_or(VmError::Lingers {
        deadline,
        source: missed,
    })
}

/// Of a QEMU that has ended, its exit is awaited a moment: its channels close first.
pub(super) fn last_words(process: &OwnedProcess) -> Box<LastWords> {
    Box::new(LastWords {
        exit: process.wait(Deadline::after(Duration::from_secs(1))),
        stderr: process.stderr(),
        console: process.stdout(),
    })
}
