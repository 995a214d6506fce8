//! Provisions QEMU and kernels: finds them on the host or unpacks them from packages, without root.
//!
//! [`provision_qemu`] and [`provision_kernel`] fill a [`Store`], a folder that is locked while it is
//! changed. A [`Manifest`] names the result. Unfinished files of failed or killed runs are never used.

pub mod apt;
mod choice;
mod error;
mod file_state;
mod host_qemu;
mod kernel;
mod manifest;
mod progress;
mod provision;
mod store;
mod sweep;
mod unpacked_qemu;

pub(crate) use apt::hex;
pub use choice::{InvalidQemuChoice, QemuChoice};
pub use error::ArtifactError;
pub(crate) use error::with_causes;
pub use file_state::FileState;
pub use host_qemu::HostQemuError;
pub(crate) use host_qemu::SANDBOX;
pub use kernel::KernelInstall;
pub use manifest::{GuestImage, MANIFEST_ENV, Manifest, ManifestError, Origin, QemuInstall};
pub use progress::{Progress, Silent};
pub use provision::{provision, provision_kernel, provision_kernel_of, provision_qemu};
pub(crate) use store::lock_within;
pub use store::write_atomically;
pub use store::{Store, StoreError, StoreLock};
pub use unpacked_qemu::UnpackedQemuError;
