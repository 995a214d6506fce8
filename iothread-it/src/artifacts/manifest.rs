//! What a VM is started from, as a file: written by whoever provisions, read by whoever boots.
//!
//! `cargo xtask` writes it; the suite only reads it. So a plain `cargo test` never downloads, and
//! without the file its tests can say what to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The variable that names the manifest's file.
pub const MANIFEST_ENV: &str = "IOTHREAD_IT_ARTIFACTS";

/// A QEMU and a guest that fit each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The emulator.
    pub qemu: QemuInstall,
    /// The guest that it boots.
    pub guest: GuestImage,
}

/// A QEMU and how to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuInstall {
    /// The file to execute: QEMU itself, or the loader that a private QEMU came with.
    pub program: PathBuf,
    /// Arguments that go before all others: a loader's, and the firmware directories.
    pub prefix_args: Vec<String>,
    /// Variables that QEMU needs, such as its own module directory.
    pub env: BTreeMap<String, String>,
    /// The version as `-version` prints it, with the distribution's suffix.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a QEMU or a kernel came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Already on this host.
    Host,
    /// Unpacked from the distribution's packages.
    Packages {
        /// The suite they were taken from, such as `bookworm`.
        suite: String,
        /// The main package's version.
        version: String,
    },
}

/// A kernel and the initramfs with our agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestImage {
    /// The kernel image for `-kernel`.
    pub kernel: PathBuf,
    /// Its release, as `uname -r` says in the guest.
    pub kernel_release: String,
    /// The initramfs for `-initrd`.
    pub initramfs: PathBuf,
    /// Where the kernel came from.
    pub origin: Origin,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// If the file cannot be read, is no manifest of this version, or names a file that is gone.
    pub fn read(_path: &Path) -> Result<Self, ManifestError> {
        Err(ManifestError::Placeholder)
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// x
    #[error("p")]
    Placeholder,
}
