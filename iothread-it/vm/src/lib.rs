//! Boots QEMU with a guest agent for tests, without root, KVM or an installed QEMU.
//!
//! - [`artifacts`] finds QEMU and the kernel on the host or unpacks them from packages, and writes the
//!   result to a [`Manifest`](artifacts::Manifest).
//! - [`cache`] lists what is stored of them, and removes what is not used.
//! - [`guest`] builds the boot image and talks to the agent in the guest.
//! - [`own_kernel`] finds and checks kernels of the user's own.
//! - [`config`] reads Kata's configuration of threads and disks.
//! - [`qemu`] makes the command line and reads the CPU time and the trace of each thread.
//! - [`process`] runs child processes that end with their parent.
//! - [`warm`] stores booted guests as templates and restores clones from them.
//! - [`vm`] combines these: a [`Vm`](vm::Vm) is a running QEMU with its monitor, agent and disks.
//! - [`scratch`] makes temporary folders and removes those of killed processes.
//!
//! ```no_run
//! use guest_vm::{artifacts::Manifest, config::HypervisorConfig, qemu::VmSpec, vm::Vm};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `cargo xtask it` or `cargo xtask plan --places vm:bookworm` writes the manifest.
//! let manifest = Manifest::find()?;
//! let vm = Vm::boot(&manifest, &VmSpec::new(HypervisorConfig::default()))?;
//! println!("Linux {}", vm.greeting().kernel);
//! vm.shutdown()?;
//! # Ok(())
//! # }
//! ```

pub mod artifacts;
pub mod cache;
pub mod config;
pub mod cpio;
pub mod guest;
pub mod own_kernel;
pub mod process;
pub mod qemu;
pub mod scratch;
pub mod vm;
pub mod warm;
