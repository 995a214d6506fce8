//! Tools for people who run QEMU with IOThreads.
//!
//! [`who`] shows which thread of a running QEMU serves which disk: what QEMU is configured with, and what disks
//! and threads did while they were observed. The program `iothread-advise who PID` prints it. `advise`, behind the
//! feature of this name, measures how many IOThreads are worth their cost on a storage backend.

#[cfg(feature = "advise")]
pub mod advise;
mod error;
mod samples;
mod table;
pub mod who;

pub use error::Error;
pub use samples::{BadSamples, Samples};
