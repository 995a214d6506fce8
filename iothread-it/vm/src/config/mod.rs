//! Reads the keys for threads and disks from Kata's configuration of a QEMU hypervisor.
//!
//! The sources are the table `[hypervisor.qemu]` of Kata's TOML file, and the pod annotations that this
//! file allows. Unused keys are ignored. A key that would have no effect is an error, and one error
//! lists every problem.
//!
//! Kata's `num_queues` and `queue_size` hold for hot-plugged disks. Without them a disk has a queue for each
//! vCPU, as in Kata's Go runtime, with QEMU's default size.
//!
//! There are keys that Kata does not have. Their defaults are Kata's behaviour:
//!
//! | key | values | default |
//! |---|---|---|
//! | `indep_iothreads_placement` | `"first"`, `"round-robin"`, `"least-loaded"`, `"dedicated"`, `"spread:N"` | `"first"` |
//! | `indep_iothreads_poll_max_ns` | how long an idle thread polls, in nanoseconds; 0: no polling | QEMU's |
//! | `indep_iothreads_poll_grow`, `indep_iothreads_poll_shrink` | QEMU's factors | QEMU's |
//! | `indep_iothreads_poll_weight` | the weight of the newest interval, from QEMU 11.1 on | QEMU's |
//! | `indep_iothreads_aio_max_batch` | how many requests of Linux AIO are sent at once; 0: QEMU chooses | QEMU's |
//! | `indep_iothreads_thread_pool_min`, `indep_iothreads_thread_pool_max` | how many worker threads each thread keeps and has at most | 0 and 64 |
//! | `indep_iothreads_cpus` | a list of CPU lists, such as `["0", "2-3"]`, one per thread; with `block_device_aio = "threads"` the worker threads are pinned too | not pinned |

mod annotations;
mod cpus;
mod iothreads;
mod kata;
mod problem;

pub use cpus::{CpuList, InvalidCpuList};
pub use iothreads::IoThreads;
pub use kata::{read, read_annotated};
pub use problem::{ConfigError, Problem};
pub use qmp_client::command::IoThreadProperties;

use std::fmt;

use iothread_hotplug::BlockOptions;

/// The configuration of a VM's threads and disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorConfig {
    /// `machine_type`.
    pub machine: Machine,
    /// `default_vcpus`.
    pub vcpus: u32,
    /// `default_memory`, in MiB.
    pub memory_mib: u32,
    /// The IOThread pool.
    pub iothreads: IoThreads,
    /// `block_device_driver`.
    pub driver: DiskDriver,
    /// `block_device_aio`.
    pub aio: Aio,
    /// `block_device_cache_set` and `block_device_cache_direct` together.
    pub cache_direct: bool,
    /// `block_device_cache_set` and `block_device_cache_noflush` together.
    pub cache_no_flush: bool,
    /// `num_queues` of a disk or a SCSI controller. A queue for each vCPU if `None`.
    pub num_queues: Option<u16>,
    /// `queue_size`: how many requests each of these queues has. QEMU's default if `None`.
    pub queue_size: Option<u16>,
}

impl Default for HypervisorConfig {
    fn default() -> Self {
        Self {
            machine: Machine::Q35,
            vcpus: 1,
            memory_mib: 256,
            iothreads: IoThreads::default(),
            driver: DiskDriver::default(),
            aio: Aio::default(),
            cache_direct: false,
            cache_no_flush: false,
            num_queues: None,
            queue_size: None,
        }
    }
}

/// A machine type with PCI hotplug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// `q35`: PCI Express, with ACPI hotplug at root ports.
    Q35,
    /// `pc`: conventional PCI (i440FX), with ACPI hotplug on the root bus.
    Pc,
}

impl Machine {
    /// Every machine type.
    pub const ALL: [Self; 2] = [Self::Q35, Self::Pc];

    /// Returns QEMU's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Pc => "pc",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bus and device type of disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskDriver {
    /// One PCI device per disk: `virtio-blk-pci` in Kata's Rust runtime, `virtio-blk` in its Go
    /// runtime.
    VirtioBlk,
    /// All disks on one SCSI controller, served by its IOThread. Kata's default.
    #[default]
    VirtioScsi,
    /// Another driver of Kata, without IOThread support.
    Other,
}

impl DiskDriver {
    /// The drivers with IOThread support, for messages.
    const SUPPORTED: &str = "\"virtio-blk-pci\", \"virtio-blk\" or \"virtio-scsi\"";

    /// Parses Kata's name.
    fn of(name: &str) -> Option<Self> {
        match name {
            "virtio-blk-pci" | "virtio-blk" => Some(Self::VirtioBlk),
            "virtio-scsi" => Some(Self::VirtioScsi),
            "virtio-blk-ccw" | "virtio-blk-mmio" | "virtio-mmio" | "virtio-pmem" | "nvdimm" => {
                Some(Self::Other)
            }
            _ => None,
        }
    }
}

/// QEMU's `aio` mode of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aio {
    /// `threads`: a pool of worker threads.
    Threads,
    /// `native`: Linux AIO.
    Native,
    /// `io_uring`. Kata's default.
    #[default]
    IoUring,
}

impl Aio {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Threads, Self::Native, Self::IoUring];

    /// Returns the name, which QEMU and Kata share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Native => "native",
            Self::IoUring => "io_uring",
        }
    }
}

impl From<&HypervisorConfig> for BlockOptions {
    fn from(config: &HypervisorConfig) -> Self {
        Self {
            aio: config.aio.as_str(),
            cache_direct: config.cache_direct,
            cache_no_flush: config.cache_no_flush,
            queues: config
                .num_queues
                .unwrap_or(u16::try_from(config.vcpus).unwrap_or(u16::MAX)),
            queue_size: config.queue_size,
        }
    }
}
