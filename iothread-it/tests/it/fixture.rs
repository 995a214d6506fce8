//! What every case starts from: a booted VM, and a folder for its disks.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::{Manifest, Store};
use guest_vm::config::{self, HypervisorConfig};
use guest_vm::guest::protocol::{Extent, Serial};
use guest_vm::qemu::{Accelerator, Topology, Trace, VmSpec};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::{Start, Vm};
use guest_vm::warm::WarmStore;
use iothread_hotplug::{DetachError, DiskSpec, DiskState, Step};
use iothread_pool::{DeviceId, IoThreadId, Lease, Placement};
use kata_test::Verdict;
use qmp_client::wait::Deadline;
use qmp_client::{QemuVersion, QmpError};

/// The variable that names another configuration.
const CONFIG_ENV: &str = "IOTHREAD_IT_CONFIG";

/// The variable that makes each case boot its own guest.
pub(crate) const COLD_ENV: &str = "IOTHREAD_IT_COLD";

/// Bytes of a test disk.
pub(crate) const DISK_SIZE: u64 = 64 << 20;

/// Declares cases and runs each of them on both machine types, as QEMU makes them: `case` becomes
/// the tests `q35::case` and `pc::case`.
///
/// The few behind `on every topology:` run on `q35_native` and `q35_bridge` too: a detach takes six
/// seconds on the first of these. Those behind `needs (…):` need these constraints, and are skipped
/// elsewhere.
macro_rules! on_each_machine {
    (
        $($case:ident),* $(,)?
        $(; on every topology: $($every:ident),* $(,)?)?
        $(; needs $needs:tt: $($needy:ident),* $(,)?)*
    ) => {
        $crate::fixture::cases!(q35 Q35 $($case)* $($($every)*)? $(; $needs $($needy)*)*);
        $crate::fixture::cases!(pc Pc $($case)* $($($every)*)? $(; $needs $($needy)*)*);
        $(
            $crate::fixture::cases!(q35_native Q35Native $($every)*);
            $crate::fixture::cases!(q35_bridge Q35Bridge $($every)*);
        )?
    };
}
pub(crate) use on_each_machine;

macro_rules! cases {
    ($module:ident $topology:ident $($case:ident)* $(; $needs:tt $($needy:ident)*)*) => {
        mod $module {
            $(
                $crate::fixture::case!((when = crate::fixture::qemu_and_guest) $case $topology);
            )*
            $($(
                $crate::fixture::case!($needs $needy $topology);
            )*)*
        }
    };
}
pub(crate) use cases;

macro_rules! case {
    (($($needs:tt)*) $case:ident $topology:ident) => {
        #[kata_test::kata_test($($needs)*)]
        fn $case() -> anyhow::Result<()> {
            super::$case(guest_vm::qemu::Topology::$topology)
        }
    };
}
pub(crate) use case;

/// The folder of the cases' disks: that of the test binary, which is below the target directory
/// and so on a disk with room.
fn scratch_root() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable
        .parent()
        .context("the test binary is in no folder")?;
    Ok(folder.join("iothread-it-scratch"))
}

/// Makes a folder for a case's files.
pub(crate) fn scratch() -> Result<ScratchDir> {
    Ok(ScratchDir::new_in(&scratch_root()?)?)
}

/// Makes an empty disk in a folder.
pub(crate) fn empty_disk(folder: &ScratchDir, name: &str) -> Result<DiskSpec> {
    let path = folder.path().join(name);
    std::fs::File::create(&path)?.set_len(DISK_SIZE)?;
    Ok(DiskSpec::new(DeviceId::new(name)?, path))
}

/// Whether there is something to boot.
pub(crate) fn qemu_and_guest() -> Verdict {
    const SOURCE: &str = "artifacts.json";
    match Manifest::find() {
        Ok(manifest) => Verdict::met(format!("QEMU {}", manifest.qemu.version), SOURCE),
        Err(error) => Verdict::unmet(error.to_string(), SOURCE),
    }
}

/// Whether this QEMU maps a disk's queues to threads.
pub(crate) fn maps_queues() -> Verdict {
    let oldest = QemuVersion::MAPS_QUEUES;
    qemu_is(&format!("{oldest} or newer"), |qemu| qemu >= oldest)
}

/// Whether this QEMU maps a SCSI controller's queues to threads.
pub(crate) fn maps_scsi_queues() -> Verdict {
    let oldest = QemuVersion::MAPS_SCSI_QUEUES;
    qemu_is(&format!("{oldest} or newer"), |qemu| qemu >= oldest)
}

/// Whether `device_add` of this QEMU would take a disk's mapping and drop it.
pub(crate) fn drops_mappings() -> Verdict {
    let newer = QemuVersion::MAPS_QUEUES;
    qemu_is(&format!("older than {newer}"), |qemu| qemu < newer)
}

/// Whether this QEMU has no mapping of a SCSI controller's queues.
pub(crate) fn lacks_scsi_mappings() -> Verdict {
    let newer = QemuVersion::MAPS_SCSI_QUEUES;
    qemu_is(&format!("older than {newer}"), |qemu| qemu < newer)
}

/// Whether this host has io_uring: containers often forbid it.
pub(crate) fn io_uring() -> Verdict {
    const SOURCE: &str = "io_uring_setup";
    match io_uring::IoUring::new(1) {
        Ok(_) => Verdict::met("a ring was made", SOURCE),
        Err(error) => Verdict::unmet(error.to_string(), SOURCE),
    }
}

fn qemu_is(what: &str, is_so: impl Fn(QemuVersion) -> bool) -> Verdict {
    const SOURCE: &str = "artifacts.json";
    let qemu = match Manifest::find() {
        Ok(manifest) => manifest.qemu,
        Err(error) => return Verdict::unmet(error.to_string(), SOURCE),
    };
    let version = format!("QEMU {}", qemu.version);
    match qemu.parsed_version().map(is_so) {
        Some(true) => Verdict::met(version, SOURCE),
        Some(false) => Verdict::unmet(format!("{version} is not {what}"), SOURCE),
        None => Verdict::undetermined(format!("{version} has no numbers"), SOURCE),
    }
}

/// Returns the configuration of this run.
pub(crate) fn configuration() -> Result<HypervisorConfig> {
    let text = match std::env::var_os(CONFIG_ENV) {
        Some(path) => std::fs::read_to_string(&path)
            .with_context(|| format!("{CONFIG_ENV} names {}", PathBuf::from(path).display()))?,
        None => include_str!("configuration.toml").to_owned(),
    };
    Ok(config::read(&text)?)
}

/// Returns the shape of this run. Idle threads sleep, so that CPU time shows who worked.
pub(crate) fn shape(topology: Topology) -> Result<VmSpec> {
    let mut config = configuration()?;
    config.iothreads.properties.poll_max_ns = Some(0);
    Ok(VmSpec {
        topology,
        ..VmSpec::new(config)
    })
}

/// Restores a VM of a shape, or boots it if this run is to go without. Either way the time that it
/// takes is recorded.
fn start(shape: &VmSpec) -> Result<Vm> {
    start_with(&Manifest::find()?, shape)
}

fn start_with(manifest: &Manifest, shape: &VmSpec) -> Result<Vm> {
    let start = Instant::now();
    let vm = match std::env::var_os(COLD_ENV) {
        Some(_) => Vm::boot(manifest, shape)?,
        None => Vm::restore_or_boot(manifest, shape, &WarmStore::of(&Store::of_user()?))?,
    };
    if let Start::ColdFallback(why) = vm.start() {
        eprintln!("booted, and not restored: {why}");
    }
    kata_test::measure("start_ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(vm)
}

/// A booted VM and what a case needs around it.
pub(crate) struct Bench {
    /// The VM.
    pub(crate) vm: Vm,
    scratch: ScratchDir,
}

impl Bench {
    /// Boots a VM of this run's shape.
    pub(crate) fn boot(topology: Topology) -> Result<Self> {
        Self::boot_shape(&shape(topology)?)
    }

    /// Boots a VM of another shape.
    pub(crate) fn boot_shape(shape: &VmSpec) -> Result<Self> {
        Self::with(start(shape)?)
    }

    /// Runs a case with a VM whose requests are traced.
    pub(crate) fn run_traced(
        shape: &VmSpec,
        case: impl FnOnce(&mut Self, &Trace) -> Result<()>,
    ) -> Result<()> {
        let traces = scratch()?;
        let trace = Trace::of_requests(traces.path().to_owned());
        let shape = VmSpec {
            trace: Some(trace.clone()),
            ..shape.clone()
        };
        Self::run_shape(&shape, |bench| case(bench, &trace))
    }

    /// Takes a VM that was started otherwise.
    pub(crate) fn with(vm: Vm) -> Result<Self> {
        let scratch = scratch()?;
        Ok(Self { vm, scratch })
    }

    /// Boots a VM whose monitor is reached through something that stands between.
    pub(crate) fn boot_with_monitor(
        shape: &VmSpec,
        between: impl FnOnce(UnixStream) -> std::io::Result<UnixStream>,
    ) -> Result<Self> {
        let (manifest, accelerator) = (Manifest::find()?, Accelerator::probe());
        Self::with(Vm::boot_with_monitor(
            &manifest,
            shape,
            accelerator,
            between,
        )?)
    }

    /// Runs a case and ends the VM. A case that fails shows the guest's console.
    pub(crate) fn run(
        topology: Topology,
        case: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::run_shape(&shape(topology)?, case)
    }

    /// Runs a case with a VM of another shape than this run's.
    pub(crate) fn run_shape(
        shape: &VmSpec,
        case: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::run_with(start(shape)?, case)
    }

    /// Runs a case with a VM of other artifacts than this run's.
    pub(crate) fn run_with_artifacts(
        manifest: &Manifest,
        shape: &VmSpec,
        case: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::run_with(start_with(manifest, shape)?, case)
    }

    /// Runs a case with a VM that was started otherwise.
    pub(crate) fn run_with(vm: Vm, case: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut bench = Self::with(vm)?;
        case(&mut bench).with_context(|| format!("the case failed{}", bench.vm.exit_report()))?;
        bench.vm.shutdown()?;
        Ok(())
    }

    /// Makes an empty disk.
    pub(crate) fn disk(&self, name: &str) -> Result<DiskSpec> {
        empty_disk(&self.scratch, name)
    }

    /// Returns where a disk of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Attaches a disk, checks that it went where it should, and returns how long it took.
    pub(crate) fn attach(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
    ) -> Result<(Lease, Duration)> {
        let start = Instant::now();
        let lease = self.vm.attach(disk, placement)?;
        let took = start.elapsed();
        let disks = self.vm.agent().disks(soon())?;
        let found = disks.iter().find(|d| d.serial == serial(&disk.id));
        let found = found.with_context(|| format!("the guest lists {disks:?}"))?;
        ensure!(
            found.size == DISK_SIZE,
            "the guest sees {} bytes",
            found.size
        );
        Ok((lease, took))
    }

    /// Detaches a disk, checks that nothing is left of it, and returns how long it took.
    pub(crate) fn detach(&mut self, disk: &DiskSpec) -> Result<Duration> {
        let start = Instant::now();
        self.vm.detach(&disk.id)?;
        let took = start.elapsed();
        ensure!(
            self.vm.pool().lease_of(&disk.id).is_none(),
            "it still has a lease"
        );
        ensure!(
            !self.nodes()?.contains(&disk.id.to_string()),
            "its node is left"
        );
        let disks = self.vm.agent().disks(soon())?;
        ensure!(
            disks.iter().all(|d| d.serial != serial(&disk.id)),
            "the guest still lists {disks:?}"
        );
        Ok(took)
    }

    /// Checks that a disk, though it failed to come or to go, has its lease, and how much of it
    /// QEMU has at most.
    pub(crate) fn holds(&self, disk: &DiskSpec, state: DiskState) -> Result<()> {
        let found = self.vm.state_of(&disk.id);
        ensure!(found == Some(state), "it is {found:?} and not {state:?}");
        ensure!(
            self.vm.pool().lease_of(&disk.id).is_some(),
            "its lease is gone"
        );
        Ok(())
    }

    /// Proves that the VM goes on working: a disk comes, takes data and goes.
    pub(crate) fn still_works(&mut self) -> Result<()> {
        let disk = self.disk("afterwards")?;
        self.attach(&disk, &Placement::First)?;
        let extent = extent(&disk.id, 1 << 20);
        self.vm.agent().write(&extent, soon())?;
        self.vm.agent().verify(&extent, soon())?;
        self.detach(&disk)?;
        Ok(())
    }

    /// Returns the names of QEMU's block nodes.
    pub(crate) fn nodes(&self) -> Result<Vec<String>> {
        let command = qmp_client::command::QueryNamedBlockNodes { flat: true };
        let nodes = self.vm.qmp().execute(&command, soon())?;
        Ok(nodes
            .into_iter()
            .filter_map(|node| node.node_name)
            .collect())
    }
}

/// Records how long an attach and a detach took.
pub(crate) fn record_times(attach: Duration, detach: Duration) {
    kata_test::measure("attach_ms", attach.as_secs_f64() * 1e3);
    kata_test::measure("detach_ms", detach.as_secs_f64() * 1e3);
}

/// Records which thread of the pool served a disk, by its number.
pub(crate) fn record_thread(vm: &Vm, thread: &IoThreadId) {
    let position = vm.pool().threads().iter().position(|known| known == thread);
    if let Some(position) = position {
        kata_test::measure("serving_thread", position as f64);
    }
}

/// Returns the serial that the guest reads of a disk.
pub(crate) fn serial(disk: &DeviceId) -> Serial {
    Serial(disk.as_str().to_owned())
}

/// Returns the first bytes of a disk.
pub(crate) fn extent(disk: &DeviceId, length: u64) -> Extent {
    Extent {
        serial: serial(disk),
        seed: 0x1077_0001,
        offset: 0,
        length,
    }
}

/// Whether a removal was requested, and the guest has not completed it. If the host is busy, the time may be up before
/// QEMU's reply to the request is read.
pub(crate) fn is_outstanding(error: &DetachError) -> bool {
    match error {
        DetachError::Pending { .. } => true,
        DetachError::Failed { step, source, .. } => {
            *step == Step::DeviceDel && matches!(source, QmpError::TimedOut { .. })
        }
        _ => false,
    }
}

/// A deadline for what takes a moment, on a host that may be busy.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}
