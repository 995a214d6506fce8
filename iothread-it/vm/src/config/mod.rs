//! Kata's configuration of a QEMU hypervisor: the part that shapes threads and disks.
//!
//! Read from TOML in Kata's form, `[hypervisor.qemu]`, and from those of its pod annotations that
//! the file allows. Keys that this crate has no use for are left alone. What would silently do nothing
//! is an error that names its key, and one error lists all that is wrong.
//!
//! Beside Kata's keys there are some of our own, which default to what Kata does:
//!
//! | key | takes | default |
//! |---|---|---|
//! | `indep_iothreads_placement` | `"first"`, `"round-robin"`, `"least-loaded"`, `"dedicated"`, `"spread:N"` | `"first"` |
//! | `indep_iothreads_poll_max_ns` | nanoseconds that an idle thread polls at the most; 0: it sleeps | QEMU's |
//! | `indep_iothreads_poll_grow`, `indep_iothreads_poll_shrink` | QEMU's factors | QEMU's |
//! | `indep_iothreads_cpus` | a list of CPU lists, such as `["0", "2-3"]`, for one thread after the other; with `block_device_aio = "threads"` its worker threads run there too | not bound |

mod annotations;
mod cpus;
mod iothreads;
mod kata;
mod problem;

pub use cpus::{BadCpuList, CpuList};
pub use iothread_hotplug::Polling;
pub use iothreads::IoThreads;
pub use kata::{read, read_annotated};
pub use problem::{ConfigError, Problem};

use std::fmt;

use iothread_hotplug::BlockOptions;

/// What shapes a VM's threads and disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorConfig {
    /// `machine_type`.
    pub machine: Machine,
    /// `default_vcpus`.
    pub vcpus: u32,
    /// `default_memory`, in MiB.
    pub memory_mib: u32,
    /// The pool's threads.
    pub iothreads: IoThreads,
    /// `block_device_driver`.
    pub driver: DiskDriver,
    /// `block_device_aio`.
    pub aio: Aio,
    /// `block_device_cache_set` and `block_device_cache_direct` together.
    pub cache_direct: bool,
    /// `block_device_cache_set` and `block_device_cache_noflush` together.
    pub cache_no_flush: bool,
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
        }
    }
}

/// A machine type that can hot-plug PCI disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// PCI Express, with ACPI hotplug at root ports.
    Q35,
    /// Conventional PCI (i440FX), with ACPI hotplug on its root bus.
    Pc,
}

impl Machine {
    /// Every machine type.
    pub const ALL: [Self; 2] = [Self::Q35, Self::Pc];

    /// Returns QEMU's name for it.
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

/// How a disk reaches the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskDriver {
    /// A PCI device of its own: `virtio-blk-pci` in Kata's Rust runtime, `virtio-blk` in its Go
    /// runtime.
    VirtioBlk,
    /// A disk on the VM's one SCSI controller, whose thread serves all of them. Kata's default.
    #[default]
    VirtioScsi,
    /// Another of Kata's. No IOThread serves it.
    Other,
}

impl DiskDriver {
    /// Those that a thread can serve.
    const SERVED: &str = "\"virtio-blk-pci\", \"virtio-blk\" or \"virtio-scsi\"";

    /// Reads Kata's name for it.
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

/// How QEMU does a disk's I/O on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aio {
    /// With a pool of worker threads.
    Threads,
    /// With Linux AIO.
    Native,
    /// With io_uring. Kata's default.
    #[default]
    IoUring,
}

impl Aio {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Threads, Self::Native, Self::IoUring];

    /// Returns QEMU's and Kata's name for it.
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
            queues: u16::try_from(config.vcpus).unwrap_or(u16::MAX),
        }
    }
}
