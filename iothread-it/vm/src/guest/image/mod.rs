//! Builds the boot image: an initramfs with the guest agent as init and the kernel modules it needs.
//!
//! | path | content |
//! |---|---|
//! | `/init` | the guest agent |
//! | `/dev`, `/proc`, `/sys`, `/tmp` | directories |
//! | `/dev/console` | the output of init before it mounts `/dev` |
//! | `/lib/modules/NAME.ko` | modules, uncompressed and unsigned |
//! | `/lib/modules/load-order` | their file names, one per line, dependencies first |
//!
//! The image of a place also has all modules of the kernel in `/lib/modules/RELEASE`, a shell and tools in
//! `/bin/busybox`, and the paths that they are found at in `/bin/applets` ([`with_modules`]). The archive is not compressed, because decompression is slow on emulated CPUs.

mod all_modules;
mod build;
mod modinfo;
mod modules;
mod signature;

#[cfg(test)]
pub(crate) use modules::fixtures;

pub use all_modules::with_modules;
pub use build::{ImageError, build, folder};
pub use modules::ModuleError;
pub(crate) use modules::Tree;
