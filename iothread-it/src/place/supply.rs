//! What a VM of a place is made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::artifacts::{
    ArtifactError, Manifest, Progress, QemuInstall, StoreLock, hex, provision_kernel_of,
    write_atomically,
};
use crate::config::{Aio, HypervisorConfig, IoThreads};
use crate::guest::image::{self, ImageError};
use crate::guest::kernel;
use crate::qemu::{Accelerator, Shape};

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
}

/// A QEMU, and a guest whose kernel is that of a suite.
#[derive(Debug, Clone)]
pub struct Supply {
    /// What it boots from.
    pub manifest: Manifest,
    /// The kernel's modules, as an archive on a raw disk.
    pub(super) modules: PathBuf,
    /// Where the time that the last start took is noted.
    start_note: PathBuf,
    accelerator: Accelerator,
}

impl Supply {
    /// Provides all of it for a suite. What is there and whole is not made again.
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
        image::modules(&kernel, &file("modules"), progress)?;
        let manifest = Manifest {
            qemu: qemu.clone(),
            guest,
        };
        Ok(Self {
            manifest,
            modules: file("modules"),
            start_note: file("start-ms"),
            accelerator: Accelerator::probe(),
        })
    }

    /// The VM's shape: one IOThread, which all disks are plugged to.
    pub(super) fn shape(&self) -> Shape {
        Shape::new(HypervisorConfig {
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

    pub(super) fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// A name for everything that the guest's answers depend on.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        let Manifest { qemu, guest } = &self.manifest;
        hash.update(format!(
            "{:?} {:?} {:?} {:?}",
            qemu.version, qemu.origin, guest.kernel_release, guest.origin
        ));
        hash.update(format!("{:?} {}", self.shape(), self.accelerator));
        // The agent is in it, which makes the guest what it is.
        hash.update(fs::read(&guest.initramfs).unwrap_or_default());
        format!(
            "vm-{}-{}",
            guest.kernel_release,
            &hex(&hash.finalize())[..16]
        )
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
