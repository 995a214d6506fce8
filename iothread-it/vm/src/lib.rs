//! A QEMU with a guest in it, for tests: from packages or files to a running VM whose agent answers.
//!
//! - [`artifacts`] finds or fetches QEMU and the kernel; [`guest`] is the agent in the guest and the
//!   image that it boots from.
//! - [`config`] reads what Kata's configuration says about threads and disks.
//! - [`qemu`] makes the command line and reads what each thread did; [`process`] owns what it
//!   starts.
//! - [`warm`] keeps guests that have booted, so that the next ones need not.
//! - [`vm`] puts them together; [`scratch`] is where it has its files.

pub mod artifacts;
pub mod config;
pub mod cpio;
pub mod guest;
pub mod process;
pub mod qemu;
pub mod scratch;
pub mod vm;
pub mod warm;
