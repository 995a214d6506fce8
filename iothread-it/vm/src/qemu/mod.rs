//! QEMU: command line, topology, accelerator, and measurements of its threads.

pub mod accel;
mod boot;
mod cmdline;
mod cold;
pub mod cpu_time;
mod host_tsc;
pub(crate) mod iothread;
mod memory;
mod ram;
mod topology;
pub mod trace;

pub use accel::Accelerator;
pub use boot::MAX_KERNEL_ARGUMENTS;
pub use cmdline::{VmSpec, arguments, inherited_fds};
pub use iothread::{OnThreadStarted, ThreadSetupError};
pub use memory::{GuestMemory, MAX_NUMA_NODES};
pub(crate) use ram::open_regular;
pub use ram::{DraftRam, TemplateRam};
pub use topology::{Topology, UnknownTopology, slots};
pub use trace::Trace;
