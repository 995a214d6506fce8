//! One VM: its process, its channels and its disks, with one owner.
//!
//! `launch` starts QEMU with its channels, and `restore` makes a running guest of a saved one.

mod error;
mod launch;
mod restore;
#[cfg(test)]
mod tests;

use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

pub use error::{LastWords, VmError};
use launch::{Launched, Plan, QEMU_SPAN, Savable, last_words, quit};
use restore::RENEWAL_SPAN;

use crate::artifacts::{Manifest, with_causes};
use crate::config::{DiskDriver, IoThreads};
use crate::guest::Agent;
use crate::guest::protocol::Greeting;
use crate::process::{OwnedProcess, ProcessId};
use crate::qemu::{self, Accelerator, Memory, Shape};
use crate::warm::{Key, RestoreOutcome, WarmError, WarmStore};
use iothread_hotplug::{
    AttachError, DetachError, DiskSpec, DiskState, Hotplug, MoveError, ScsiController, SettleError,
    Settled, Step, StepError,
};
use iothread_pool::{DeviceId, Holding, IoThreadId, Lease, Placement, Pool};
use qmp_client::command::{QueryIothreads, QueryVersion};
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

/// How long an attach may take from the first step to the last.
const ATTACH_SPAN: Duration = Duration::from_secs(30);

/// How long a guest may take to let go of a disk. With native PCIe hotplug it is 6 s by design.
const DETACH_SPAN: Duration = Duration::from_secs(30);

/// The id of the SCSI controller that the configuration asks for, as Kata calls it.
const CONTROLLER: &str = "scsi0";

/// A running VM, whose guest has booted. It ends when this value is dropped, or its process does.
#[derive(Debug)]
pub struct Vm {
    // Dropped in this order: the channels first, so that their readers end in peace.
    qmp: Qmp,
    agent: Agent,
    process: OwnedProcess,
    hotplug: Hotplug,
    iothreads: IoThreads,
    driver: DiskDriver,
    greeting: Greeting,
    accelerator: Accelerator,
    start: Start,
}

/// How a VM came to run.
#[derive(Debug)]
pub enum Start {
    /// Its guest booted.
    Cold,
    /// Its guest booted, since it could not be restored.
    ColdInstead(WarmError),
    /// Its guest was restored.
    Restored,
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
        let plan = Plan::new(manifest, shape, &accelerator);
        let launched = Launched::start_through(&plan, &Memory::Own, between)?;
        let greeting = launched.booted()?;
        Self::assemble(&plan, launched, greeting, Start::Cold)
    }

    /// Restores a guest of this shape, which boots once for all that are restored from it. Where
    /// that fails, boots one and notes why: see [`Start`]. A shape with devices from the start is
    /// booted.
    ///
    /// # Errors
    /// If neither comes up.
    pub fn restore_or_boot(
        manifest: &Manifest,
        shape: &Shape,
        store: &WarmStore,
    ) -> Result<Self, VmError> {
        let accelerator = Accelerator::probe();
        Self::restore_or_boot_within(manifest, shape, store, accelerator, RENEWAL_SPAN)
    }

    fn restore_or_boot_within(
        manifest: &Manifest,
        shape: &Shape,
        store: &WarmStore,
        accelerator: Accelerator,
        reseed_timeout: Duration,
    ) -> Result<Self, VmError> {
        let Some(guest) = Plan::new(manifest, shape, &accelerator).savable() else {
            return Self::boot_with(manifest, shape, accelerator);
        };
        match Self::restore(&guest, store, reseed_timeout) {
            Ok(vm) => Ok(vm),
            Err(why) => {
                store.note(&with_causes(&why));
                let mut vm = Self::boot_with(manifest, shape, accelerator)?;
                vm.start = Start::ColdInstead(why);
                Ok(vm)
            }
        }
    }

    /// Returns by what the template of such a guest is found, if there can be one.
    ///
    /// # Errors
    /// If a file that it is made of cannot be looked at.
    pub fn key(manifest: &Manifest, shape: &Shape) -> Result<Option<Key>, WarmError> {
        let accelerator = Accelerator::probe();
        let guest = Plan::new(manifest, shape, &accelerator).savable();
        guest.map(|guest| guest.key()).transpose()
    }

    fn restore(
        guest: &Savable<'_>,
        store: &WarmStore,
        reseed_timeout: Duration,
    ) -> Result<Self, WarmError> {
        let key = guest.key()?;
        let ram_size = guest.plan().shape.memory_bytes();
        let template = store.template(&key, ram_size, |ram| {
            restore::boot_and_save(guest, ram).map_err(|error| WarmError::Make(Box::new(error)))
        })?;
        let memory = Memory::Template(&template.ram);
        let launched = Launched::start(guest.plan(), &memory);
        let launched = launched.map_err(|error| WarmError::Restore(Box::new(error)))?;
        let restored = restore::restore(&launched, &template, reseed_timeout);
        let outcome = match &restored {
            Ok(_) => RestoreOutcome::Restored,
            Err(error) => error.restore_outcome(),
        };
        store.record_restore(&key, &template, outcome);
        let greeting = restored.map_err(|error| WarmError::Restore(Box::new(error)))?;
        Self::assemble(guest.plan(), launched, greeting, Start::Restored)
            .map_err(|error| WarmError::Restore(Box::new(error)))
    }

    fn assemble(
        plan: &Plan<'_>,
        launched: Launched,
        greeting: Greeting,
        start: Start,
    ) -> Result<Self, VmError> {
        let Launched {
            qmp,
            agent,
            process,
        } = launched;
        let version = qmp.execute(&QueryVersion {}, Deadline::after(QEMU_SPAN));
        let version = version.map_err(|source| qmp_failed(&process, source))?;
        let config = &plan.shape.config;
        let threads = plan.shape.threads();
        bind_threads(&process, &qmp, &config.iothreads, threads)?;
        let hotplug = plan.shape.hotplug(version.qemu, &qmp);
        let proved = hotplug.prove_mappings(&qmp, Deadline::after(QEMU_SPAN));
        proved.map_err(VmError::Mapping)?;
        Ok(Self {
            qmp,
            agent,
            process,
            hotplug,
            iothreads: config.iothreads.clone(),
            driver: config.driver,
            greeting,
            accelerator: plan.accelerator.clone(),
            start,
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

    /// Attaches a disk as the configuration wants one that has no wish of its own: as a PCI device,
    /// placed by `indep_iothreads_placement`, or with `block_device_driver = "virtio-scsi"` on the
    /// VM's one SCSI controller, which is placed so when the first disk comes. Without threads the
    /// main loop serves it.
    ///
    /// # Errors
    /// If the configuration names another driver, or a step fails; see [`Hotplug::attach`] and [`Hotplug::attach_on`].
    pub fn attach_as_configured(&mut self, disk: &DiskSpec) -> Result<Holding, AttachError> {
        let placement = match self.iothreads.count {
            0 => Placement::MainLoop,
            _ => self.iothreads.placement.clone(),
        };
        match self.driver {
            DiskDriver::Other => Err(AttachError {
                device: disk.id.clone(),
                step: Step::Lease,
                source: StepError::OtherDriver,
                rollback: Ok(()),
            }),
            DiskDriver::VirtioBlk => self.attach(disk, &placement).map(Holding::Device),
            DiskDriver::VirtioScsi => {
                let id = DeviceId::new(CONTROLLER).expect("it is an id");
                let (hotplug, qmp) = (&mut self.hotplug, &self.qmp);
                let deadline = Deadline::after(ATTACH_SPAN);
                if hotplug.pool().holding_of(&id).is_none() {
                    let controller = ScsiController::new(id.clone());
                    hotplug.attach_controller(qmp, &controller, &placement, deadline)?;
                }
                let address = hotplug.attach_on(qmp, &self.agent, &id, disk, deadline);
                address.map(Holding::Scsi)
            }
        }
    }

    /// Adds a thread to the pool, which polls and is bound as the configuration wants it of its
    /// threads.
    ///
    /// # Errors
    /// If QEMU refuses, or the thread cannot be bound. It is in the pool in the second case.
    pub fn add_thread(&mut self) -> Result<IoThreadId, VmError> {
        let added = self.hotplug.add_thread(&self.qmp, self.iothreads.polling);
        let thread = added.map_err(|source| qmp_failed(&self.process, source))?;
        bind_threads(&self.process, &self.qmp, &self.iothreads, [thread.clone()])?;
        Ok(thread)
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
    pub fn settle(&mut self) -> Result<Settled, SettleError> {
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

    /// Returns how it came to run.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Returns which process QEMU is.
    pub fn process(&self) -> ProcessId {
        self.process.id()
    }

    /// Ends QEMU at once. Whoever waits for an answer of the guest's hears that it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Returns how QEMU ended, if it has, and the end of what it and the guest's console said.
    pub fn last_words(&self) -> LastWords {
        *last_words(&self.process)
    }

    /// Ends QEMU in an orderly way.
    ///
    /// QEMU before 8.1 can block itself for ever if a guest uses a disk on an IOThread meanwhile
    /// (QEMU's commit ca2a5e63): its main thread waits for the thread, which waits for the main
    /// thread's lock. Whoever has to end such a guest lets it rest before, or calls [`Vm::kill`].
    ///
    /// # Errors
    /// If it does not end in time. It is killed then.
    pub fn shutdown(self) -> Result<ExitStatus, VmError> {
        quit(&self.qmp, &self.process)
    }
}

/// Binds threads to the CPUs that the configuration names for them, before they serve a disk.
fn bind_threads(
    process: &OwnedProcess,
    qmp: &Qmp,
    config: &IoThreads,
    threads: impl IntoIterator<Item = IoThreadId>,
) -> Result<(), VmError> {
    if config.cpus.is_empty() {
        return Ok(());
    }
    let found = qmp.execute(&QueryIothreads {}, Deadline::after(QEMU_SPAN));
    let found = found.map_err(|source| qmp_failed(process, source))?;
    for thread in threads {
        let info = found.iter().find(|info| info.id == thread.as_str());
        if let (Some(info), Some(cpus)) = (info, config.cpus_of(&thread)) {
            qemu::iothread::bind(info.thread_id, cpus).map_err(|source| VmError::Bind {
                thread,
                cpus: cpus.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

fn qmp_failed(process: &OwnedProcess, source: QmpError) -> VmError {
    let words = last_words(process);
    VmError::Qmp { source, words }
}
