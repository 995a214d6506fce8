//! QEMU itself: how it is started, and which threads did the work.

pub mod accel;
mod boot;
pub mod capabilities;
mod cmdline;
pub mod evidence;
pub(crate) mod iothread;
mod topology;
pub mod trace;
mod version;

pub use accel::Accelerator;
pub use capabilities::{Capabilities, Driver};
pub use cmdline::{Memory, Shape, Wiring, arguments};
pub use topology::{NoTopology, Topology, slots};
pub use trace::Trace;
pub use version::QemuVersion;
pub(crate) use version::version_text;
