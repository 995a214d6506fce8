//! Tools for people who run QEMU with IOThreads.
//!
//! [`who`] shows which thread of a running QEMU serves which disk: what QEMU is configured with, and what disks
//! and threads did while they were observed. The program `iothread-advise who PID` prints it.

mod error;
pub mod who;

pub use error::Error;
