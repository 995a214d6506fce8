//! QEMU, kernel and boot image: found on the host or unpacked from its packages.
//!
//! [`Store`] is where it all lies, [`provision_qemu`] and [`provision_kernel`] fill it, and
//! [`Manifest`] hands the result to whoever boots. Nothing here needs root, and nothing that a
//! failed or killed run left behind is ever taken for good.

pub mod apt;
mod choice;
mod error;
mod file_state;
mod host;
mod kernel;
mod manifest;
mod private;
mod progress;
mod provision;
mod store;
mod sweep;

pub(crate) use apt::hex;
pub use choice::{BadChoice, QemuChoice};
pub use error::ArtifactError;
pub(crate) use error::with_causes;
pub use file_state::FileState;
pub use host::HostQemuError;
pub(crate) use host::SANDBOX;
pub use kernel::KernelInstall;
pub use manifest::{GuestImage, MANIFEST_ENV, Manifest, ManifestError, Origin, QemuInstall};
pub use private::PrivateQemuError;
pub use progress::{Progress, Silent};
pub use provision::{provision, provision_kernel, provision_kernel_of, provision_qemu};
pub(crate) use store::lock_by;
pub use store::write_atomically;
pub use store::{Store, StoreError, StoreLock};
