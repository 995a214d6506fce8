//! QEMU itself: how it is started, and which threads did the work.

pub mod accel;
mod cmdline;
pub mod evidence;

pub use accel::Accelerator;
pub use cmdline::{Shape, Wiring, arguments, slots};
