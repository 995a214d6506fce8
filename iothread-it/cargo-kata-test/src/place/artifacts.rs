//! The artifacts that the VMs of a place are booted from.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::shape::{MAX_IMAGE_MIB, Shape};

use guest_vm::artifacts::{
    GuestImage, KernelInstall, Manifest, Origin, Progress, QemuChoice, QemuInstall, StoreLock,
    Tools, WorkFolder, write_atomically,
};
use guest_vm::config::{Aio, HypervisorConfig, IoThreads};
use guest_vm::guest::image::{self, ImageError};
use guest_vm::guest::kernel;
use guest_vm::own_kernel::options;
use guest_vm::qemu::{Accelerator, VmSpec};
use guest_vm::vm::Vm;

/// The estimated duration of a start before one was measured.
const DEFAULT_START_ESTIMATE: Duration = Duration::from_secs(8);

/// An error of providing a VM's artifacts.
#[derive(Debug, thiserror::Error)]
pub enum VmArtifactsError {
    /// The boot image cannot be built.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The kernel cannot be copied.
    #[error("cannot copy the kernel {}", path.display())]
    Kernel {
        /// The kernel.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The modules do not fit into the guest's memory.
    #[error(
        "the kernel's modules have {mib} MiB, and at most {MAX_IMAGE_MIB} MiB fit into a guest; leave out the \
         debugging information by `make INSTALL_MOD_STRIP=1 modules_install`, or build fewer modules"
    )]
    TooManyModules {
        /// The size of the boot image.
        mib: u32,
    },
    /// The list of provided artifacts cannot be read or written.
    #[error(
        "cannot read or write {}; `cargo kata-test plan --places all` creates it",
        path.display()
    )]
    List {
        /// The list.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A QEMU, a kernel, and a boot image with its modules.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmArtifacts {
    /// The paths of the artifacts.
    pub manifest: Manifest,
    /// The file with the duration of the last start, in milliseconds.
    start_note: PathBuf,
    /// The choice that QEMU was provided for.
    qemu: String,
    /// Whether the guest has KVM.
    #[serde(default)]
    kvm: bool,
    /// QEMU's CPU model, instead of the one that fits.
    #[serde(skip)]
    cpu: Option<String>,
    /// Further arguments of the kernel.
    #[serde(skip)]
    kernel_args: String,
    /// Whether the guest has a network.
    #[serde(skip)]
    network: bool,
    /// The shape, if it is not the usual one.
    #[serde(skip)]
    shape: Option<Shape>,
}

impl VmArtifacts {
    /// Provides the artifacts of a place with a kernel. Artifacts that exist and are complete are reused.
    ///
    /// # Errors
    /// If an image cannot be built.
    pub fn provide(
        kernel: &KernelInstall,
        kernel_args: &str,
        (choice, qemu): (&QemuChoice, &QemuInstall),
        agent: &Path,
        tools: Option<&Tools>,
        lock: &StoreLock,
        progress: &mut dyn Progress,
    ) -> Result<Self, VmArtifactsError> {
        let images = image::folder(agent, kernel, lock)?;
        let file = |name: &str| images.join(name);
        let kernel = &match kernel.origin {
            Origin::Files { .. } => kept(kernel, &file("vmlinuz"))?,
            Origin::Host | Origin::Packages { .. } => kernel.clone(),
        };
        let guest = boot_image(agent, kernel, &images, progress)?;
        let guest = image::with_modules(&guest, kernel, tools, &file("initramfs-place"), progress)?;
        check_size(&guest.initramfs)?;
        let manifest = Manifest {
            qemu: qemu.clone(),
            guest,
            guest_with_tools: None,
        };
        Ok(Self {
            manifest,
            start_note: file("start-ms"),
            qemu: choice.to_string(),
            kvm: false,
            cpu: None,
            kernel_args: kernel_args.to_owned(),
            network: false,
            shape: None,
        })
    }

    /// Lists the artifacts of the place `vm:NAME` for [`VmArtifacts::find`].
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn list(&self, work: &WorkFolder, name: &str) -> Result<(), VmArtifactsError> {
        let path = Self::list_of(work, name);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = text.and_then(|text| write_atomically(&path, &text));
        written.map_err(|source| VmArtifactsError::List { path, source })
    }

    /// Finds the artifacts that were provided for the place `vm:NAME`. Fetches and builds nothing.
    ///
    /// # Errors
    /// If none were provided, or by another version.
    pub fn find(work: &WorkFolder, name: &str) -> Result<Self, VmArtifactsError> {
        Self::read(&Self::list_of(work, name))
    }

    /// Finds the artifacts of all VM places that were provided and are still there, the oldest kernel first.
    ///
    /// # Errors
    /// If they cannot be read, or were provided by another version.
    pub fn find_all(work: &WorkFolder) -> Result<Vec<Self>, VmArtifactsError> {
        let folder = lists(work);
        let failed = |source| VmArtifactsError::List {
            path: folder.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            match Self::read(&entry.map_err(failed)?.path()) {
                // They have been removed from the cache.
                Err(VmArtifactsError::List { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                read => found.push(read?),
            }
        }
        let release = |found: &Self| -> Vec<u32> {
            let release = &found.manifest.guest.kernel_release;
            release
                .split('.')
                .map_while(|part| part.parse().ok())
                .collect()
        };
        found.sort_by_key(release);
        Ok(found)
    }

    fn read(path: &Path) -> Result<Self, VmArtifactsError> {
        let read = || {
            let found: Self = serde_json::from_slice(&fs::read(path)?)?;
            found.manifest.hold()?;
            Ok(found)
        };
        read().map_err(|source| VmArtifactsError::List {
            path: path.into(),
            source,
        })
    }

    /// Returns the same artifacts for a VM with KVM, which is larger and boots more slowly.
    pub(super) fn with_kvm(&self, cpu: Option<&str>) -> Self {
        Self {
            start_note: self.start_note.with_file_name("start-ms-kvm"),
            kvm: true,
            cpu: cpu.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Returns the same artifacts for a VM with a network.
    #[must_use]
    pub(crate) fn with_network(mut self) -> Self {
        self.network = true;
        self.start_note.as_mut_os_string().push("-network");
        self
    }

    /// Returns the same artifacts for a VM of another shape.
    pub(super) fn with_shape(&self, shape: Shape) -> Self {
        let mut hasher = DefaultHasher::new();
        shape.hash(&mut hasher);
        let mut start_note = self.start_note.clone();
        let number = hasher.finish();
        start_note
            .as_mut_os_string()
            .push(format!("-{number:016x}"));
        Self {
            start_note,
            shape: Some(shape),
            ..self.clone()
        }
    }

    /// Returns the shape of a VM for tests that ask for nothing.
    pub(super) fn usual_shape(&self) -> Shape {
        let image = size_mib(&self.manifest.guest.initramfs);
        Shape::usual(self.kvm, &self.kernel_args, self.network).with_room_for(image)
    }

    /// Returns the shape.
    pub(super) fn shape(&self) -> Shape {
        self.shape.clone().unwrap_or_else(|| self.usual_shape())
    }

    /// Says whether QEMU was provided for this choice.
    pub(crate) fn has_choice(&self, choice: &QemuChoice) -> bool {
        self.qemu == choice.to_string()
    }

    /// Says whether the guest has KVM.
    pub(super) fn has_kvm(&self) -> bool {
        self.kvm
    }

    /// Returns the path of the list of the place `vm:NAME`.
    pub(crate) fn list_of(work: &WorkFolder, name: &str) -> PathBuf {
        lists(work).join(format!("{name}.json"))
    }

    /// Names the kernel and QEMU, with the versions of their packages.
    pub(super) fn about(&self) -> String {
        let Manifest { qemu, guest, .. } = &self.manifest;
        format!(
            "kernel {}{}, QEMU {}{}{}",
            guest.kernel_release,
            guest.origin.suffix(),
            qemu.version,
            qemu.origin.suffix(),
            if self.kvm {
                kvm_text(&Accelerator::probe_nested())
            } else {
                ""
            }
        )
    }

    /// Returns the kernel of the user's own, and what to know if it does not boot.
    pub(super) fn own_kernel(&self) -> Option<(&Path, String)> {
        let Origin::Files { kernel, config, .. } = &self.manifest.guest.origin else {
            return None;
        };
        let hint = match config {
            Some(_) => "its configuration has what a guest needs".to_owned(),
            None => format!(
                "its configuration is not known, and a guest needs {}",
                options::all()
            ),
        };
        Some((kernel, hint))
    }

    /// Returns the release of the kernel: `6.1.0-56-cloud-amd64`.
    pub(super) fn kernel_release(&self) -> &str {
        &self.manifest.guest.kernel_release
    }

    /// Returns the VM's configuration: one IOThread, which all disks are attached to.
    pub(super) fn spec(&self) -> VmSpec {
        let shape = self.shape();
        let mut spec = VmSpec::new(HypervisorConfig {
            vcpus: shape.cpus,
            memory_mib: shape.memory_mib,
            // Works on every host.
            aio: Aio::Threads,
            iothreads: IoThreads {
                count: 1,
                ..IoThreads::default()
            },
            ..HypervisorConfig::default()
        });
        spec.guest_kvm = self.kvm;
        spec.numa_nodes = shape.numa_nodes;
        spec.user_network = shape.network;
        spec.kernel_arguments = shape.kernel_arguments();
        spec.cpu.clone_from(&self.cpu);
        spec
    }

    /// Returns a name for everything that facts of the guest depend on, derived from the template's key.
    pub(super) fn key(&self) -> String {
        let release = &self.manifest.guest.kernel_release;
        match Vm::template_key(&self.manifest, &self.spec()) {
            Ok(Some(key)) => format!("vm-{release}-{}", &key.as_str()[..16]),
            // This configuration can be saved, and without its files the VM cannot start either.
            Ok(None) | Err(_) => format!("vm-{release}"),
        }
    }

    /// Returns the duration of the last start, or an estimate.
    pub(super) fn start_estimate(&self) -> Duration {
        let noted = fs::read_to_string(&self.start_note).ok();
        let noted = noted.and_then(|text| text.trim().parse().ok());
        noted.map_or(DEFAULT_START_ESTIMATE, Duration::from_millis)
    }

    /// Returns whether a VM has started.
    pub(super) fn has_started(&self) -> bool {
        self.start_note.is_file()
    }

    /// Notes a start, and its duration for the next estimate. `None`: the next does not take as long.
    pub(super) fn record_start(&self, took: Option<Duration>) {
        let text = took.map_or(String::new(), |took| took.as_millis().to_string());
        if took.is_some() || !self.has_started() {
            let _ = write_atomically(&self.start_note, text.as_bytes());
        }
    }
}

/// Builds the boot image of a kernel in a folder, and uncompresses the kernel.
pub(crate) fn boot_image(
    agent: &Path,
    kernel: &KernelInstall,
    images: &Path,
    progress: &mut dyn Progress,
) -> Result<GuestImage, ImageError> {
    let mut guest = image::build(agent, kernel, &images.join("initramfs"))?;
    let vmlinux = images.join("vmlinux");
    match kernel::uncompressed(&kernel.image, &vmlinux) {
        Ok(()) => guest.vmlinux = Some(vmlinux),
        Err(why) => progress.noted(&format!(
            "the kernel cannot be uncompressed, and boots more slowly: {why}"
        )),
    }
    Ok(guest)
}

/// Says what kind of KVM the guest has.
fn kvm_text(accelerator: &Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => ", KVM (nested)",
        Accelerator::Tcg { .. } => ", KVM (emulated, slow)",
    }
}

/// Copies the image of a kernel, which may be built again while its VMs run.
fn kept(kernel: &KernelInstall, copy: &Path) -> Result<KernelInstall, VmArtifactsError> {
    let failed = |source| VmArtifactsError::Kernel {
        path: kernel.image.clone(),
        source,
    };
    // The name of the folder depends on the content.
    if !copy.exists() {
        let bytes = fs::read(&kernel.image).map_err(failed)?;
        write_atomically(copy, &bytes).map_err(failed)?;
    }
    Ok(KernelInstall {
        image: copy.to_owned(),
        ..kernel.clone()
    })
}

/// Checks that the boot image fits into a guest's memory.
fn check_size(initramfs: &Path) -> Result<(), VmArtifactsError> {
    let mib = size_mib(initramfs);
    match mib > MAX_IMAGE_MIB {
        true => Err(VmArtifactsError::TooManyModules { mib }),
        false => Ok(()),
    }
}

fn size_mib(file: &Path) -> u32 {
    let bytes = file.metadata().map_or(0, |data| data.len());
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

fn lists(work: &WorkFolder) -> PathBuf {
    work.path().join("places")
}
