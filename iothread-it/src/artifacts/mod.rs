//! QEMU, kernel and boot image: found on the host or unpacked from its packages.

mod manifest;

pub use manifest::{GuestImage, MANIFEST_ENV, Manifest, ManifestError, Origin, QemuInstall};
