//! Chooses between the host and packages as the source of QEMU and kernel.

use super::apt::{
    AptError, PackageSet, Unpacked, ensure, ensure_offer, has_kernel_files, has_offer,
};
use super::choice::QemuChoice;
use super::error::{ArtifactError, with_causes};
use super::host_qemu::HostQemuError;
use super::kernel::KernelInstall;
use super::kernel_choice::{Flavour, KernelChoice};
use super::kernels::{KernelOffer, Kernels};
use super::manifest::{Origin, QemuInstall};
use super::package_source::PackageSource;
use super::pins::{GENERIC_KERNEL_SET, KERNEL_SET, Pins};
use super::progress::Progress;
use super::store::{Store, StoreLock};
use super::tools::provision_tools;
use super::{apt, host_qemu, kernel, unpacked_qemu};

const QEMU: PackageSet = PackageSet {
    name: "qemu",
    candidates: &["qemu-system-x86"],
    needs: |_| true,
    check: |root| Ok(unpacked_qemu::check(root)?),
};

/// Kernels for virtual machines first: they are small and have the needed drivers.
const KERNEL: PackageSet = PackageSet {
    name: KERNEL_SET,
    candidates: &[
        "linux-image-cloud-amd64",
        "linux-image-virtual",
        "linux-image-amd64",
        "linux-image-generic",
    ],
    needs: |package| has_kernel_files(package.name()),
    check: kernel::check,
};

/// Kernels for all machines.
const GENERIC_KERNEL: PackageSet = PackageSet {
    name: GENERIC_KERNEL_SET,
    ..KERNEL
};

/// Provisions QEMU and a kernel. If both are missing, one error lists both.
///
/// # Errors
/// If the chosen QEMU cannot be used, or QEMU or the kernel is neither on the host nor available as a
/// package.
pub fn provision(
    choice: &QemuChoice,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<(QemuInstall, KernelInstall), ArtifactError> {
    // The kernel would have any other failure too, after a longer wait.
    let qemu = match provision_qemu(choice, lock, progress) {
        Err(ArtifactError::Missing { qemu, .. }) => Err(qemu),
        result => Ok(result?),
    };
    let kernel = match provision_kernel(lock, progress) {
        Err(ArtifactError::Missing { .. }) => None,
        result => Some(result?),
    };
    match (qemu, kernel) {
        (Ok(qemu), Some(kernel)) => Ok((qemu, kernel)),
        (qemu, kernel) => Err(ArtifactError::Missing {
            qemu: qemu.err().flatten(),
            kernel: kernel.is_none(),
        }),
    }
}

/// Provisions the chosen QEMU.
///
/// # Errors
/// As for [`provision`].
pub fn provision_qemu(
    choice: &QemuChoice,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<QemuInstall, ArtifactError> {
    let (suite, useless) = match qemu_source(choice, lock.store().source())? {
        QemuSource::Installed(qemu) => return Ok(qemu),
        QemuSource::Packages { suite, useless } => (suite, useless),
    };
    let Some(useless) = useless else {
        return qemu_of_packages(suite.as_deref(), lock, progress);
    };
    if !matches!(useless, HostQemuError::Absent) {
        let why = with_causes(&useless);
        progress.noted(&format!("{why}; using QEMU from packages instead"));
    }
    match qemu_of_packages(suite.as_deref(), lock, progress) {
        Err(ArtifactError::Apt(AptError::NoApt { .. })) => Err(ArtifactError::Missing {
            qemu: Some(with_causes(&useless)),
            kernel: false,
        }),
        result => result,
    }
}

/// Where a QEMU comes from.
#[derive(Debug)]
pub enum QemuSource {
    /// It is installed.
    Installed(QemuInstall),
    /// From packages.
    Packages {
        /// Their suite; without one, that of the host's release.
        suite: Option<String>,
        /// Why the one on `PATH`, which would be used before, is not.
        useless: Option<HostQemuError>,
    },
}

/// Returns where the chosen QEMU comes from. Nothing is fetched.
///
/// # Errors
/// If an installed QEMU is chosen that cannot be used.
pub fn qemu_source(
    choice: &QemuChoice,
    source: &PackageSource,
) -> Result<QemuSource, HostQemuError> {
    let packages = |suite: Option<&str>, useless| QemuSource::Packages {
        suite: suite.map(str::to_owned),
        useless,
    };
    let pins = source.pins.as_ref();
    Ok(match choice {
        QemuChoice::Host => QemuSource::Installed(host_qemu::find()?),
        QemuChoice::Path(path) => QemuSource::Installed(host_qemu::probe(path)?),
        QemuChoice::Suite(suite) => packages(Some(suite), None),
        QemuChoice::Auto => match pins.and_then(|pins| pins.suite_of(QEMU.name)) {
            // The same QEMU on every host.
            Some(suite) => packages(Some(suite), None),
            None => match host_qemu::find() {
                Ok(qemu) => QemuSource::Installed(qemu),
                Err(useless) => packages(None, Some(useless)),
            },
        },
    })
}

fn qemu_of_packages(
    suite: Option<&str>,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<QemuInstall, ArtifactError> {
    let unpacked = ensure(lock, suite, &QEMU, progress)?;
    let launch = unpacked_qemu::UnpackedQemu::below(&unpacked.root).map_err(AptError::from)?;
    Ok(QemuInstall {
        program: launch.program,
        prefix_args: launch.prefix_args,
        env: launch.env,
        version: unpacked.finding.clone(),
        origin: origin(&unpacked, "qemu-system-x86"),
    })
}

/// Provisions a kernel from packages, or if that fails, the running kernel of the host.
///
/// # Errors
/// As for [`provision`].
fn provision_kernel(
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, ArtifactError> {
    let error = match kernel_of_packages(lock, progress) {
        Ok(kernel) => return Ok(kernel),
        Err(error) => error,
    };
    match (KernelInstall::of_host(), error) {
        (Some(kernel), error) => {
            progress.noted(&format!(
                "{error}; using the running kernel of the host instead"
            ));
            Ok(kernel)
        }
        (None, AptError::NoApt { .. }) => Err(ArtifactError::Missing {
            qemu: None,
            kernel: true,
        }),
        (None, error) => Err(error.into()),
    }
}

/// Returns the kernels that the archive has, or those of the lock file. They are searched in the archive
/// if `fresh`, or if the cache does not have them.
///
/// # Errors
/// If the archive cannot be read.
pub fn kernels(
    lock: &StoreLock,
    fresh: bool,
    progress: &mut dyn Progress,
) -> Result<Kernels, ArtifactError> {
    Ok(apt::kernels(lock, fresh, progress)?)
}

/// Provisions a kernel of the archive. If the archive has another one since the last search, that one is
/// provisioned.
///
/// # Errors
/// If the archive has no such kernel, or the packages cannot be fetched or unpacked.
pub fn provision_kernel_of(
    choice: &KernelChoice,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, ArtifactError> {
    let is_final = lock.store().is_offline() || lock.store().source().pins.is_some();
    let known = kernels(lock, false, progress)?;
    let error = match known.find(choice) {
        Ok(offer) => match kernel_of_offer(offer, lock, progress) {
            Ok(kernel) => return Ok(kernel),
            Err(error) => ArtifactError::Apt(error),
        },
        Err(error) => error.into(),
    };
    if is_final {
        return Err(error);
    }
    let current = kernels(lock, true, progress)?;
    if current == known {
        return Err(error);
    }
    Ok(kernel_of_offer(current.find(choice)?, lock, progress)?)
}

/// Provides QEMU, these kernels and the tools from packages, also if the host has a QEMU, and returns their versions. A
/// choice of a QEMU that is not from packages pins none.
///
/// # Errors
/// If the packages cannot be fetched or unpacked.
pub fn provision_packages(
    qemu: &QemuChoice,
    choices: &[KernelChoice],
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<Pins, ArtifactError> {
    match qemu {
        QemuChoice::Auto => drop(ensure(lock, None, &QEMU, progress)?),
        QemuChoice::Suite(suite) => drop(ensure(lock, Some(suite), &QEMU, progress)?),
        QemuChoice::Host | QemuChoice::Path(_) => {}
    }
    for choice in choices {
        provision_kernel_of(choice, lock, progress)?;
    }
    provision_tools(lock, progress);
    Ok(lock.pins())
}

/// Returns whether the cache has a kernel, so that no package is downloaded for it.
#[must_use]
pub fn has_kernel(store: &Store, offer: &KernelOffer) -> bool {
    has_offer(store, offer, set_of(offer.flavour))
}

fn set_of(flavour: Flavour) -> &'static PackageSet {
    match flavour {
        Flavour::Cloud => &KERNEL,
        Flavour::Generic => &GENERIC_KERNEL,
    }
}

fn kernel_of_offer(
    offer: &KernelOffer,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, AptError> {
    installed(ensure_offer(lock, offer, set_of(offer.flavour), progress)?)
}

fn kernel_of_packages(
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, AptError> {
    installed(ensure(lock, None, &KERNEL, progress)?)
}

fn installed(unpacked: Unpacked) -> Result<KernelInstall, AptError> {
    let origin = origin(&unpacked, &format!("linux-image-{}", unpacked.finding));
    let suite = unpacked.suite;
    KernelInstall::below(&unpacked.root, origin).ok_or(AptError::NoKernel { suite })
}

fn origin(unpacked: &Unpacked, package: &str) -> Origin {
    let version = unpacked
        .closure
        .named(package)
        .map(|package| package.version());
    Origin::Packages {
        suite: unpacked.suite.clone(),
        version: version.unwrap_or_default(),
    }
}
