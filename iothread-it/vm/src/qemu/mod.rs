//! QEMU itself: how it is started, and which threads did the work.

pub mod accel;
mod boot;
mod cmdline;
mod cold;
pub mod evidence;
pub(crate) mod iothread;
mod ram;
mod topology;
pub mod trace;

pub use accel::Accelerator;
pub use cmdline::{Memory, Shape, Wiring, arguments};
pub(crate) use ram::open_regular;
pub use ram::{DraftRam, TemplateRam};
pub use topology::{NoTopology, Topology, slots};
pub use trace::Trace;
