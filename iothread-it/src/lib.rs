//! A pool of IOThreads for QEMU, as Kata Containers' `indep_iothreads`: threads that are made when
//! QEMU starts and live as long as the VM, to which hot-plugged disks attach and from which they
//! detach.
//!
//! - [`config`] reads what Kata's configuration says about threads and disks.
//! - [`pool`] knows who has which thread and which slot. It does no I/O.
//! - [`qmp`] speaks with QEMU, [`hotplug`] attaches and detaches with it.
//! - [`qemu`] makes the command line and reads what each thread did; [`process`] owns what it
//!   starts.
//! - [`guest`] is the agent in the guest and the image that it boots from; [`artifacts`] finds or
//!   fetches QEMU and the kernel.
//! - [`warm`] keeps guests that have booted, so that the next ones need not.
//! - [`vm`] puts them together; [`scratch`] is where it has its files.

pub mod artifacts;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod cpio;
pub mod guest;
pub mod hotplug;
mod lines;
pub mod place;
pub mod pool;
pub mod process;
pub mod qemu;
pub mod qmp;
pub mod scratch;
pub mod vm;
pub mod wait;
pub mod warm;
