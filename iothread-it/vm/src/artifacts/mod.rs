//! Provisions QEMU and kernels: finds them on the host or unpacks them from packages, without root.
//!
//! [`provision_qemu`] and [`provision_kernel_of`] fill a [`Store`], the cache folder of a user, which is
//! locked while it is changed. A [`Manifest`] names the result. Unfinished files of failed or killed runs
//! are never used.
//!
//! | in the cache | content |
//! |---|---|
//! | `packages/SET-SUITE-KEY/` | packages that are unpacked together, such as QEMU with its libraries |
//! | `indices/ARCHIVE/SUITE/` | the versions and hashes of these packages |
//! | `images/RELEASE-KEY/` | the boot images and the decompressed kernel of a kernel's release |
//! | `agents/KEY/` | a guest agent |
//! | `guests/` | the guests of failed tests that were saved |
//! | `warm/` | templates of VMs, see [`warm`](crate::warm) |
//! | `debs/`, `staging/` | files in work; empty if no process provisions |
//!
//! A key is a hash of what the content is made from, so different versions of this crate can use one
//! cache.

pub mod apt;
mod choice;
mod copied;
mod debian_archive;
mod error;
mod file_error;
mod file_state;
mod fio;
mod gdbserver;
mod headers;
mod held;
mod host_qemu;
mod kernel;
mod kernel_choice;
mod kernels;
mod location;
mod manifest;
mod package_source;
mod pins;
mod progress;
mod provision;
mod size;
mod store;
mod sweep;
mod tools;
mod unpacked_qemu;
mod work_folder;

pub(crate) use apt::{hex, unpack_package};
pub use choice::{InvalidQemuChoice, QemuChoice};
pub use copied::CopyError;
pub use debian_archive::{ARCHIVE_ENV, DebianArchive, InvalidArchive};
pub use error::ArtifactError;
pub(crate) use error::with_causes;
pub use file_error::FileError;
pub(crate) use file_error::{cannot, unless_absent};
pub use file_state::FileState;
pub use fio::provision_fio;
pub use gdbserver::provision_gdbserver;
pub use headers::provision_headers;
pub(crate) use held::{USED_FILE, is_in_use, is_still};
pub use host_qemu::HostQemuError;
pub(crate) use host_qemu::SANDBOX;
pub use kernel::KernelInstall;
pub use kernel_choice::{Flavour, InvalidKernelChoice, KernelChoice, Wanted};
pub use kernels::{KernelOffer, Kernels, NoSuchKernel};
pub use location::{CACHE_ENV, free_space};
pub use manifest::{GuestImage, MANIFEST_ENV, Manifest, ManifestError, Origin, QemuInstall};
pub use package_source::PackageSource;
pub use pins::{LOCK_FILE, LockFileError, Pins};
pub use progress::{Progress, Silent};
pub use provision::{
    QemuSource, has_kernel, kernels, provision, provision_kernel_of, provision_packages,
    provision_qemu, qemu_source,
};
pub use size::{InvalidSize, parse_size, shown_size};
pub use store::{Store, StoreError, StoreLock, lock_within, write_atomically};
pub use tools::{Tools, ToolsError, provision_tools};
pub use unpacked_qemu::UnpackedQemuError;
pub use work_folder::WorkFolder;
