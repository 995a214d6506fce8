//! A pool of IOThreads for QEMU.

pub mod artifacts;
pub mod guest;
