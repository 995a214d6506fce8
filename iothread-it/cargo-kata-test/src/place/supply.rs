//! What a VM of a place is made of.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use guest_vm::artifacts::{
    ArtifactError, Manifest, Progress, QemuInstall, Store, StoreLock, provision_kernel_of,
    write_atomically,
};
use guest_vm::config::{Aio, HypervisorConfig, IoThreads};
use guest_vm::guest::image::{self, ImageError};
use guest_vm::guest::kernel;
use guest_vm::qemu::VmSpec;
use guest_vm::vm::Vm;

/// The suites of Debian whose kernels make places: 6.1, 6.12, and the newest.
pub const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// Memory of the guest, in MiB: modules, binaries and what tests write all lie in it.
const MEMORY_MIB: u32 = 1024;
const VCPUS: u32 = 2;

/// How long the first start may be expected to take before one was measured.
const START_GUESS: Duration = Duration::from_secs(8);

/// Why there is nothing to make a place of.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// The kernel cannot be had.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The boot image or the modules cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The note of what was provided cannot be used.
    #[error("{} cannot be used; `plan --places all` makes it anew", path.display())]
    Note {
        /// The note.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A QEMU, and a guest whose kernel is that of a suite.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supply {
    /// What it boots from.
    pub manifest: Manifest,
    /// Where the time that the last start took is noted.
    start_note: PathBuf,
}

impl Supply {
    /// Provides all of it for a suite, and notes it for [`Supply::find`]. What is there and whole is
    /// not made again.
    ///
    /// # Errors
    /// If the kernel cannot be fetched, or an image cannot be made.
    pub fn of_suite(
        suite: &str,
        qemu: &QemuInstall,
        agent: &Path,
        lock: &StoreLock,
        progress: &mut dyn Progress,
    ) -> Result<Self, SupplyError> {
        let kernel = provision_kernel_of(suite, lock, progress)?;
        let images = lock.store().base().join("images");
        let file = |name: &str| images.join(format!("{name}-{}", kernel.release));
        let mut guest = image::build(agent, &kernel, &file("initramfs"))?;
        match kernel::uncompressed(&kernel.image, &file("vmlinux")) {
            Ok(()) => guest.vmlinux = Some(file("vmlinux")),
            Err(why) => progress.noted(&format!("the kernel is booted packed: {why}")),
        }
        let guest = image::with_modules(&guest, &kernel, &file("initramfs-place"), progress)?;
        let manifest = Manifest {
            qemu: qemu.clone(),
            guest,
        };
        let supply = Self {
            manifest,
            start_note: file("start-ms"),
        };
        let path = note_of(lock.store(), suite);
        let text = serde_json::to_vec_pretty(&supply).map_err(io::Error::from);
        let written = text.and_then(|text| write_atomically(&path, &text));
        written.map_err(|source| SupplyError::Note { path, source })?;
        Ok(supply)
    }

    /// Finds what was provided for a suite. Nothing is fetched or made.
    ///
    /// # Errors
    /// If nothing was, or not by this version.
    pub fn find(store: &Store, suite: &str) -> Result<Self, SupplyError> {
        let path = note_of(store, suite);
        let read = || Ok(serde_json::from_slice(&fs::read(&path)?)?);
        read().map_err(|source| SupplyError::Note {
            path: path.clone(),
            source,
        })
    }

    /// The VM's shape: one IOThread, which all disks are plugged to.
    pub(super) fn shape(&self) -> VmSpec {
        VmSpec::new(HypervisorConfig {
            vcpus: VCPUS,
            memory_mib: MEMORY_MIB,
            // Works wherever QEMU does.
            aio: Aio::Threads,
            iothreads: IoThreads {
                count: 1,
                ..IoThreads::default()
            },
            ..HypervisorConfig::default()
        })
    }

    /// A name for everything that the guest's answers depend on: the same as for its saved memory.
    pub(super) fn key(&self) -> String {
        let release = &self.manifest.guest.kernel_release;
        match Vm::template_key(&self.manifest, &self.shape()) {
            Ok(Some(key)) => format!("vm-{release}-{}", &key.as_str()[..16]),
            // This shape can be saved, and without its files it does not start either.
            Ok(None) | Err(_) => format!("vm-{release}"),
        }
    }

    /// How long a start takes, by the last one.
    pub(super) fn start_estimate(&self) -> Duration {
        let noted = fs::read_to_string(&self.start_note).ok();
        let noted = noted.and_then(|text| text.trim().parse().ok());
        noted.map_or(START_GUESS, Duration::from_millis)
    }

    /// Notes how long a start took. Without the note the next one is a guess.
    pub(super) fn note_start(&self, took: Duration) {
        let _ = write_atomically(&self.start_note, took.as_millis().to_string().as_bytes());
    }
}

fn note_of(store: &Store, suite: &str) -> PathBuf {
    store.base().join("places").join(format!("{suite}.json"))
}
