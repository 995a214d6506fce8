//! A running VM: QEMU's process, its monitor, the guest agent and the disks.
//!
//! `launch` starts and ends QEMU, `migration` moves a guest to another one, `restore` saves and restores guests.

mod error;
mod gdb;
mod launch;
mod migration;
mod restore;
mod saved;
#[cfg(test)]
mod tests;

use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

pub use error::{ExitReport, VmError};
use launch::{LaunchSpec, QEMU_TIMEOUT, RunningQemu, Snapshottable, exit_report, qmp_failed, quit};
pub use migration::Migration;
use restore::RESEED_TIMEOUT;
pub use saved::{SavedGuest, SavedGuestError};

use crate::artifacts::{Manifest, with_causes};
use crate::config::{DiskDriver, IoThreads};
use crate::guest::Agent;
use crate::guest::protocol::Greeting;
use crate::process::{OwnedProcess, ProcessId};
use crate::qemu::{self, Accelerator, GuestMemory, OnThreadStarted, VmSpec};
use crate::warm::{RestoreOutcome, TemplateKey, WarmError, WarmStore};
use iothread_hotplug::blocking::Hotplug;
use iothread_hotplug::{
    AttachError, DetachError, DiskSpec, DiskState, MoveError, ScsiController, Step, StepError,
    UnplugEventsError, UnplugProgress,
};
use iothread_pool::{Allocation, DeviceId, IoThreadId, Lease, Placement, Pool};
use qmp_client::Qmp;
use qmp_client::command::QueryVersion;
use qmp_client::wait::Deadline;

/// How long an attach may take.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the guest may take to release a disk. With native PCIe hotplug it takes 6 s by design.
const DETACH_TIMEOUT: Duration = Duration::from_secs(30);

/// The id of the SCSI controller, as in Kata.
const CONTROLLER: &str = "scsi0";

/// A VM whose guest agent has reported in. QEMU is killed when this value is dropped or this process
/// ends.
#[derive(Debug)]
pub struct Vm {
    // Dropped in this order: the channels close before QEMU is killed.
    qmp: Qmp,
    agent: Agent,
    process: OwnedProcess,
    hotplug: Hotplug,
    iothreads: IoThreads,
    on_thread_started: Option<OnThreadStarted>,
    driver: DiskDriver,
    greeting: Greeting,
    accelerator: Accelerator,
    start: Start,
    made_template: bool,
}

/// How a VM was started.
#[derive(Debug)]
pub enum Start {
    /// The guest booted.
    Cold,
    /// The guest booted, because the restore failed.
    ColdFallback(WarmError),
    /// The guest was restored from a template.
    Restored,
}

/// Returns the accelerator that a spec is started with.
fn accelerator_for(spec: &VmSpec) -> Accelerator {
    match spec.guest_kvm {
        true => Accelerator::probe_nested(),
        false => Accelerator::probe(),
    }
}

/// Fails if the guest did not boot: it would not boot a second time either. Returns any other error.
fn did_not_boot(why: WarmError) -> Result<WarmError, VmError> {
    match why {
        WarmError::Create(error) => match error.downcast::<VmError>() {
            Ok(error) if matches!(*error, VmError::Guest { .. }) => Err(*error),
            Ok(error) => Ok(WarmError::Create(error)),
            Err(error) => Ok(WarmError::Create(error)),
        },
        why => Ok(why),
    }
}

impl Vm {
    /// Boots a guest and waits until its agent reports in.
    ///
    /// # Errors
    /// If QEMU fails or the agent does not report in.
    pub fn boot(manifest: &Manifest, spec: &VmSpec) -> Result<Self, VmError> {
        Self::boot_with_accelerator(manifest, spec, accelerator_for(spec))
    }

    /// Like [`Vm::boot`], with the given accelerator.
    ///
    /// # Errors
    /// As for [`Vm::boot`].
    pub fn boot_with_accelerator(
        manifest: &Manifest,
        spec: &VmSpec,
        accelerator: Accelerator,
    ) -> Result<Self, VmError> {
        Self::boot_with_monitor(manifest, spec, accelerator, Ok)
    }

    /// Like [`Vm::boot_with_accelerator`], with a proxy or recorder on the monitor: `wrap_monitor` gets
    /// QEMU's socket and returns the socket to use instead.
    ///
    /// # Errors
    /// As for [`Vm::boot`], and if `wrap_monitor` fails.
    pub fn boot_with_monitor(
        manifest: &Manifest,
        spec: &VmSpec,
        accelerator: Accelerator,
        wrap_monitor: impl FnOnce(UnixStream) -> std::io::Result<UnixStream>,
    ) -> Result<Self, VmError> {
        let launch = LaunchSpec::new(manifest, spec, &accelerator);
        let qemu_process =
            RunningQemu::start_with_monitor(&launch, &GuestMemory::Anonymous, wrap_monitor)?;
        let greeting = qemu_process.wait_for_boot()?;
        Self::assemble(&launch, qemu_process, greeting, Start::Cold)
    }

    /// Restores a guest from the template of this spec, which is made first if there is none.
    ///
    /// If the restore fails, boots a guest instead and notes the reason; see [`Start`]. A spec with
    /// cold-plugged devices is always booted.
    ///
    /// # Errors
    /// As for [`Vm::boot`].
    pub fn restore_or_boot(
        manifest: &Manifest,
        spec: &VmSpec,
        store: &WarmStore,
    ) -> Result<Self, VmError> {
        let accelerator = accelerator_for(spec);
        Self::restore_or_boot_within(manifest, spec, store, accelerator, RESEED_TIMEOUT)
    }

    fn restore_or_boot_within(
        manifest: &Manifest,
        spec: &VmSpec,
        store: &WarmStore,
        accelerator: Accelerator,
        reseed_timeout: Duration,
    ) -> Result<Self, VmError> {
        let Some(guest) = LaunchSpec::new(manifest, spec, &accelerator).snapshottable() else {
            return Self::boot_with_accelerator(manifest, spec, accelerator);
        };
        match Self::restore(&guest, store, reseed_timeout) {
            Ok(vm) => Ok(vm),
            Err(why) => {
                let why = did_not_boot(why)?;
                store.note_fallback(&with_causes(&why));
                let mut vm = Self::boot_with_accelerator(manifest, spec, accelerator)?;
                vm.start = Start::ColdFallback(why);
                Ok(vm)
            }
        }
    }

    /// Returns the key of the template of this spec, or `None` if it has cold-plugged devices.
    ///
    /// # Errors
    /// If the kernel, the initramfs or QEMU cannot be read.
    pub fn template_key(
        manifest: &Manifest,
        spec: &VmSpec,
    ) -> Result<Option<TemplateKey>, WarmError> {
        let accelerator = accelerator_for(spec);
        let guest = LaunchSpec::new(manifest, spec, &accelerator).snapshottable();
        guest.map(|guest| guest.key()).transpose()
    }

    fn restore(
        guest: &Snapshottable<'_>,
        store: &WarmStore,
        reseed_timeout: Duration,
    ) -> Result<Self, WarmError> {
        let key = guest.key()?;
        let ram_sizes = guest.launch().spec.memory_sizes();
        let mut made_template = false;
        let template = store.template(&key, &ram_sizes, |ram| {
            made_template = true;
            restore::boot_and_save(guest, ram).map_err(|error| WarmError::Create(Box::new(error)))
        })?;
        let memory = GuestMemory::Template(&template.ram);
        let failed = |error: VmError| WarmError::Restore(Box::new(error));
        let qemu_process = RunningQemu::start(guest.launch(), &memory).map_err(failed)?;
        let restored = restore::restore(&qemu_process, &template, reseed_timeout);
        let outcome = match &restored {
            Ok(_) => RestoreOutcome::Restored,
            Err(error) => error.restore_outcome(),
        };
        store.record_restore(&key, &template, outcome);
        let greeting = restored.map_err(failed)?;
        let vm = Self::assemble(guest.launch(), qemu_process, greeting, Start::Restored);
        let mut vm = vm.map_err(failed)?;
        vm.made_template = made_template;
        Ok(vm)
    }

    fn assemble(
        launch: &LaunchSpec<'_>,
        qemu_process: RunningQemu,
        greeting: Greeting,
        start: Start,
    ) -> Result<Self, VmError> {
        let RunningQemu {
            qmp,
            agent,
            process,
        } = qemu_process;
        let version = qmp.execute(&QueryVersion {}, Deadline::after(QEMU_TIMEOUT));
        let version = version.map_err(qmp_failed(&process))?;
        let config = &launch.spec.config;
        let threads = launch.spec.threads();
        let hook = launch.spec.on_thread_started.clone();
        let deadline = Deadline::after(QEMU_TIMEOUT);
        qemu::iothread::set_up(&qmp, &config.iothreads, hook.as_ref(), threads, deadline)?;
        let hotplug = launch.spec.hotplug(version.qemu, &qmp);
        let proved = hotplug.verify_vq_mappings(&qmp, Deadline::after(QEMU_TIMEOUT));
        proved.map_err(VmError::Mapping)?;
        Ok(Self {
            qmp,
            agent,
            process,
            hotplug,
            iothreads: config.iothreads.clone(),
            on_thread_started: hook,
            driver: config.driver,
            greeting,
            accelerator: launch.accelerator.clone(),
            start,
            made_template: false,
        })
    }

    /// Attaches a disk and waits until the guest has it.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::attach`].
    pub fn attach(&mut self, disk: &DiskSpec, placement: &Placement) -> Result<Lease, AttachError> {
        let deadline = Deadline::after(ATTACH_TIMEOUT);
        self.hotplug
            .attach(&self.qmp, &self.agent, disk, placement, deadline)
    }

    /// Attaches a disk with the driver and the placement of the configuration.
    ///
    /// With `block_device_driver = "virtio-scsi"` the disk is on the VM's SCSI controller, which is
    /// attached with the first disk; `indep_iothreads_placement` is then the placement of the controller.
    /// Without IOThreads the main loop serves the disk.
    ///
    /// # Errors
    /// If the driver is not supported, or a step fails; see [`Hotplug::attach`] and
    /// [`Hotplug::attach_on`].
    pub fn attach_as_configured(&mut self, disk: &DiskSpec) -> Result<Allocation, AttachError> {
        let placement = match self.iothreads.count {
            0 => Placement::MainLoop,
            _ => self.iothreads.placement.clone(),
        };
        match self.driver {
            DiskDriver::Other => Err(AttachError {
                device: disk.id.clone(),
                step: Step::Lease,
                source: StepError::UnsupportedDriver,
                rollback: Ok(()),
            }),
            DiskDriver::VirtioBlk => self.attach(disk, &placement).map(Allocation::Device),
            DiskDriver::VirtioScsi => {
                let id = DeviceId::new(CONTROLLER).expect("a valid device id");
                let (hotplug, qmp) = (&mut self.hotplug, &self.qmp);
                let deadline = Deadline::after(ATTACH_TIMEOUT);
                if hotplug.pool().allocation_of(&id).is_none() {
                    let controller = ScsiController::new(id.clone());
                    hotplug.attach_controller(qmp, &controller, &placement, deadline)?;
                }
                let address = hotplug.attach_on(qmp, &self.agent, &id, disk, deadline);
                address.map(Allocation::Scsi)
            }
        }
    }

    /// Adds an IOThread to the pool, with the configured properties and CPUs, and calls the hook
    /// [`VmSpec::on_thread_started`].
    ///
    /// # Errors
    /// If QEMU refuses, the thread cannot be pinned, or the hook fails. Only in the first case it is not
    /// in the pool.
    pub fn add_thread(&mut self) -> Result<IoThreadId, VmError> {
        let added = self
            .hotplug
            .add_thread(&self.qmp, self.iothreads.properties);
        let thread = added.map_err(qmp_failed(&self.process))?;
        qemu::iothread::set_up(
            &self.qmp,
            &self.iothreads,
            self.on_thread_started.as_ref(),
            [thread.clone()],
            Deadline::after(QEMU_TIMEOUT),
        )?;
        Ok(thread)
    }

    /// Moves a disk to another thread by detach and attach; see [`Hotplug::move_disk`].
    ///
    /// # Errors
    /// If a step fails. The error tells where the disk is.
    pub fn move_disk(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
    ) -> Result<Lease, MoveError> {
        let deadline = Deadline::after(DETACH_TIMEOUT + ATTACH_TIMEOUT);
        self.hotplug
            .move_disk(&self.qmp, &self.agent, disk, placement, deadline)
    }

    /// Detaches a disk.
    ///
    /// # Errors
    /// If a step fails; see [`Hotplug::detach`].
    pub fn detach(&mut self, disk: &DeviceId) -> Result<(), DetachError> {
        self.detach_by(disk, Deadline::after(DETACH_TIMEOUT))
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
    /// If a step fails; see [`Hotplug::process_unplug_events`].
    pub fn process_unplug_events(&mut self) -> Result<UnplugProgress, UnplugEventsError> {
        self.hotplug
            .process_unplug_events(&self.qmp, Deadline::after(DETACH_TIMEOUT))
    }

    /// Returns the state of a disk in QEMU.
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

    /// Returns the hotplug state, the monitor and the agent, to call [`Hotplug`] directly.
    pub fn parts(&mut self) -> (&mut Hotplug, &Qmp, &Agent) {
        (&mut self.hotplug, &self.qmp, &self.agent)
    }

    /// Returns the first greeting of the agent.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Returns the accelerator.
    pub fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// Returns how the VM was started.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Returns whether the template that it was restored from was made for it, which takes longer than a boot.
    pub fn made_template(&self) -> bool {
        self.made_template
    }

    /// Returns the identity of the QEMU process.
    pub fn process(&self) -> ProcessId {
        self.process.id()
    }

    /// Kills QEMU. Pending requests to the agent fail.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Returns the exit status of QEMU if it has exited, and the end of its output.
    pub fn exit_report(&self) -> ExitReport {
        *exit_report(&self.process)
    }

    /// Shuts QEMU down by `quit` and returns its exit status.
    ///
    /// QEMU before 8.1 can deadlock if the guest uses a disk on an IOThread during `quit` (QEMU commit
    /// ca2a5e63): the main thread waits for the IOThread, which waits for the main thread's lock. Stop
    /// the guest's I/O first, or call [`Vm::kill`].
    ///
    /// # Errors
    /// If QEMU does not exit in time. It is then killed.
    pub fn shutdown(self) -> Result<ExitStatus, VmError> {
        quit(&self.qmp, &self.process)
    }
}
