//! One VM: its process, its channels and its disks, with one owner.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use crate::artifacts::{Manifest, QemuInstall};
use crate::config::{CpuList, IoThreads};
use crate::guest::protocol::Greeting;
use crate::guest::{Agent, AgentError};
use crate::hotplug::{
    AttachError, BlockOptions, DetachError, DiskSpec, DiskState, Hotplug, MoveError, Settled,
};
use crate::pool::{DeviceId, IoThreadId, Lease, Placement, Pool};
use crate::process::{OwnedProcess, ProcessError, ProcessId};
use crate::qemu::{self, Accelerator, Shape, Wiring};
use crate::qmp::command::{QueryIothreads, QueryVersion, Quit};
use crate::qmp::{Qmp, QmpError};
use crate::wait::Deadline;

/// How long QEMU may take to greet. It loads its modules and firmware before that.
const QEMU_SPAN: Duration = Duration::from_secs(30);

/// How long the guest may take to boot, under emulation on a busy host.
const BOOT_SPAN: Duration = Duration::from_secs(120);

/// How long an attach may take from the first step to the last.
const ATTACH_SPAN: Duration = Duration::from_secs(30);

/// How long a guest may take to let go of a disk. With native PCIe hotplug it is 6 s by design.
const DETACH_SPAN: Duration = Duration::from_secs(30);

/// How long QEMU may take to end after `quit`.
const QUIT_SPAN: Duration = Duration::from_secs(20);

/// The numbers of the channels in QEMU's process, behind its standard streams.
const WIRING: Wiring = Wiring { qmp: 3, agent: 4 };

/// A running VM, whose guest has booted. It ends when this value is dropped, or its process does.
#[derive(Debug)]
pub struct Vm {
    // Dropped in this order: the channels first, so that their readers end in peace.
    qmp: Qmp,
    agent: Agent,
    process: OwnedProcess,
    hotplug: Hotplug,
    placement: Placement,
    greeting: Greeting,
    accelerator: Accelerator,
}

/// Why there is no VM, or no orderly end of one.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// QEMU could not be executed.
    #[error("QEMU does not start")]
    Spawn(#[from] ProcessError),
    /// The channels could not be made.
    #[error("cannot make a channel to QEMU")]
    Channel(#[source] std::io::Error),
    /// QEMU ended, or did not speak QMP.
    #[error("QEMU does not come up{words}")]
    Qmp {
        /// Why.
        source: QmpError,
        /// How it ended and what it said, for a person.
        words: Box<LastWords>,
    },
    /// The guest did not come up.
    #[error("the guest does not come up{words}")]
    Guest {
        /// Why.
        source: AgentError,
        /// How QEMU ended and what the console said, for a person.
        words: Box<LastWords>,
    },
    /// A thread of the pool could not be bound to the CPUs that the configuration names.
    #[error("cannot bind IOThread `{thread}` to CPU {cpus}")]
    Bind {
        /// The thread.
        thread: IoThreadId,
        /// Its CPUs.
        cpus: CpuList,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU did not end in time and was killed.
    #[error("QEMU did not end within {deadline} after `quit` and was killed")]
    Lingers {
        /// How long it had.
        deadline: Deadline,
    },
}

/// How QEMU ended, and the end of what it and its guest said.
#[derive(Debug, Default)]
pub struct LastWords {
    exit: Option<ExitStatus>,
    stderr: String,
    console: String,
}

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(exit) = self.exit {
            write!(f, "; it ended with {exit}")?;
        }
        for (name, text) in [("QEMU", &self.stderr), ("the console", &self.console)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name} said ---\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

impl Vm {
    /// Boots a guest and waits until its agent greets.
    ///
    /// # Errors
    /// If QEMU or the guest does not come up.
    pub fn boot(manifest: &Manifest, shape: &Shape) -> Result<Self, VmError> {
        Self::boot_with(manifest, shape, Accelerator::probe())
    }

    /// Boots a guest with this accelerator.
    ///
    /// # Errors
    /// If QEMU or the guest does not come up.
    pub fn boot_with(
        manifest: &Manifest,
        shape: &Shape,
        accelerator: Accelerator,
    ) -> Result<Self, VmError> {
        Self::boot_through(manifest, shape, accelerator, Ok)
    }

    /// Boots a guest and reaches its monitor through something that stands between: a recorder, or
    /// a proxy that disturbs. `between` gets QEMU's monitor and returns what to speak with instead.
    ///
    /// # Errors
    /// If QEMU or the guest does not come up, or there is nothing between.
    pub fn boot_through(
        manifest: &Manifest,
        shape: &Shape,
        accelerator: Accelerator,
        between: impl FnOnce(UnixStream) -> std::io::Result<UnixStream>,
    ) -> Result<Self, VmError> {
        let (qmp, qmp_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let qmp = between(qmp).map_err(VmError::Channel)?;
        let (agent, agent_theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let arguments = qemu::arguments(shape, &accelerator, &manifest.guest, WIRING);
        let channels = [(qmp_theirs, WIRING.qmp), (agent_theirs, WIRING.agent)];
        let process = OwnedProcess::spawn(command(&manifest.qemu, arguments, channels))?;

        let qmp =
            Qmp::negotiate(qmp, Deadline::after(QEMU_SPAN)).map_err(|source| VmError::Qmp {
                source,
                words: last_words(&process),
            })?;
        let agent = Agent::new(agent).map_err(VmError::Channel)?;
        let greeting = agent
            .greeting(Deadline::after(BOOT_SPAN))
            .map_err(|source| VmError::Guest {
                source,
                words: last_words(&process),
            })?;
        let version = qmp.execute(&QueryVersion {}, Deadline::after(QEMU_SPAN));
        let version = version.map_err(|source| VmError::Qmp {
            source,
            words: last_words(&process),
        })?;
        bind_threads(&process, &qmp, &shape.config.iothreads)?;
        let pool = Pool::new(shape.threads(), qemu::slots(shape));
        Ok(Self {
            qmp,
            agent,
            process,
            hotplug: Hotplug::new(pool, BlockOptions::from(&shape.config), version.qemu),
            placement: shape.config.iothreads.placement.clone(),
            greeting,
            accelerator,
        })
    }

    /// Attaches a disk and waits until the guest has it.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::attach`].
    pub fn attach(&mut self, disk: &DiskSpec, placement: &Placement) -> Result<Lease, AttachError> {
        let deadline = Deadline::after(ATTACH_SPAN);
        self.hotplug
            .attach(&self.qmp, &self.agent, disk, placement, deadline)
    }

    /// Attaches a disk where the configuration wants one that has no wish of its own
    /// (`indep_iothreads_placement`).
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::attach`].
    pub fn attach_as_configured(&mut self, disk: &DiskSpec) -> Result<Lease, AttachError> {
        let placement = self.placement.clone();
        self.attach(disk, &placement)
    }

    /// Moves a disk to another thread, through the guest; see [`Hotplug::move_disk`].
    ///
    /// # Errors
    /// If a step fails; each says where the disk is then.
    pub fn move_disk(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
    ) -> Result<Lease, MoveError> {
        let deadline = Deadline::after(DETACH_SPAN + ATTACH_SPAN);
        self.hotplug
            .move_disk(&self.qmp, &self.agent, disk, placement, deadline)
    }

    /// Detaches a disk.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::detach`].
    pub fn detach(&mut self, disk: &DeviceId) -> Result<(), DetachError> {
        self.detach_by(disk, Deadline::after(DETACH_SPAN))
    }

    /// Detaches a disk by a deadline.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::detach`].
    pub fn detach_by(&mut self, disk: &DeviceId, deadline: Deadline) -> Result<(), DetachError> {
        self.hotplug.detach(&self.qmp, disk, deadline)
    }

    /// Completes what came of pending removals, without waiting.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::settle`].
    pub fn settle(&mut self) -> Result<Settled, DetachError> {
        self.hotplug.settle(&self.qmp, Deadline::after(DETACH_SPAN))
    }

    /// Returns what QEMU has of a disk.
    pub fn state_of(&self, disk: &DeviceId) -> Option<DiskState> {
        self.hotplug.state_of(disk)
    }

    /// Returns the pool of threads and slots.
    pub fn pool(&self) -> &Pool {
        self.hotplug.pool()
    }

    /// Returns the monitor.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Returns the guest's agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Returns the disks, the monitor and the agent, for what takes all three.
    pub fn parts(&mut self) -> (&mut Hotplug, &Qmp, &Agent) {
        (&mut self.hotplug, &self.qmp, &self.agent)
    }

    /// Returns the agent's first greeting.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Returns what runs the guest's code.
    pub fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// Returns which process QEMU is.
    pub fn process(&self) -> ProcessId {
        self.process.id()
    }

    /// Returns how QEMU ended, if it has, and the end of what it and the guest's console said.
    pub fn last_words(&self) -> LastWords {
        *last_words(&self.process)
    }

    /// Ends QEMU in an orderly way.
    ///
    /// # Errors
    /// If it does not end in time. It is killed then.
    pub fn shutdown(self) -> Result<ExitStatus, VmError> {
        let deadline = Deadline::after(QUIT_SPAN);
        match self.qmp.execute(&Quit {}, deadline) {
            // The end of the channel can overtake the reply.
            Ok(_) | Err(QmpError::Closed { .. }) => {}
            Err(source) => {
                return Err(VmError::Qmp {
                    source,
                    words: last_words(&self.process),
                });
            }
        }
        self.process
            .wait(deadline)
            .ok_or(VmError::Lingers { deadline })
    }
}

/// Binds each thread to its CPUs, before it has anything to do.
fn bind_threads(process: &OwnedProcess, qmp: &Qmp, threads: &IoThreads) -> Result<(), VmError> {
    if threads.cpus.is_empty() {
        return Ok(());
    }
    let found = qmp.execute(&QueryIothreads {}, Deadline::after(QEMU_SPAN));
    let found = found.map_err(|source| VmError::Qmp {
        source,
        words: last_words(process),
    })?;
    for n in 0..threads.count {
        let thread = IoThreadId::indep(n);
        let info = found.iter().find(|info| info.id == thread.as_str());
        if let (Some(info), Some(cpus)) = (info, threads.cpus_of(n)) {
            qemu::iothread::bind(info.thread_id, cpus).map_err(|source| VmError::Bind {
                thread,
                cpus: cpus.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

fn command(
    qemu: &QemuInstall,
    arguments: Vec<OsString>,
    channels: [(UnixStream, i32); 2],
) -> Command {
    let mut command = Command::new(&qemu.program);
    command
        .args(&qemu.prefix_args)
        .args(arguments)
        .envs(&qemu.env);
    let mappings = channels.map(|(stream, child_fd)| FdMapping {
        parent_fd: OwnedFd::from(stream),
        child_fd,
    });
    command
        .fd_mappings(mappings.into())
        .expect("the two numbers differ");
    command
}

/// Of a QEMU that has ended, its exit is awaited a moment: its channels close first.
fn last_words(process: &OwnedProcess) -> Box<LastWords> {
    Box::new(LastWords {
        exit: process.wait(Deadline::after(Duration::from_secs(1))),
        stderr: process.stderr(),
        console: process.stdout(),
    })
}
