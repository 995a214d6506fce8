//! Chooses between the host and packages as the source of QEMU and kernel.

use super::apt::{AptError, PackageSet, Unpacked, ensure};
use super::choice::QemuChoice;
use super::error::{ArtifactError, with_causes};
use super::kernel::KernelInstall;
use super::manifest::{Origin, QemuInstall};
use super::pins::Pins;
use super::progress::Progress;
use super::store::StoreLock;
use super::{host_qemu, kernel, unpacked_qemu};

const QEMU: PackageSet = PackageSet {
    name: "qemu",
    candidates: &["qemu-system-x86"],
    needs: |_| true,
    check: |root| Ok(unpacked_qemu::check(root)?),
};

/// Kernels for virtual machines first: they are small and have the needed drivers.
const KERNEL: PackageSet = PackageSet {
    name: "kernel",
    candidates: &[
        "linux-image-cloud-amd64",
        "linux-image-virtual",
        "linux-image-amd64",
        "linux-image-generic",
    ],
    // The other packages make an initramfs, which is not used.
    needs: |package| package.name().starts_with("linux-"),
    check: kernel::check,
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
    let suite = match choice {
        QemuChoice::Host => return Ok(host_qemu::find()?),
        QemuChoice::Path(path) => return Ok(host_qemu::probe(path)?),
        QemuChoice::Suite(suite) => return qemu_of_packages(Some(suite), lock, progress),
        QemuChoice::Auto => None,
    };
    if let Some(suite) = pinned_suite(lock) {
        // The same QEMU on every host.
        return qemu_of_packages(Some(suite), lock, progress);
    }
    let useless = match host_qemu::find() {
        Ok(qemu) => return Ok(qemu),
        Err(useless) => useless,
    };
    if !matches!(useless, host_qemu::HostQemuError::Absent) {
        let why = with_causes(&useless);
        progress.noted(&format!("{why}; using QEMU from packages instead"));
    }
    match qemu_of_packages(suite, lock, progress) {
        Err(ArtifactError::Apt(AptError::NoApt { .. })) => Err(ArtifactError::Missing {
            qemu: Some(with_causes(&useless)),
            kernel: false,
        }),
        result => result,
    }
}

fn pinned_suite(lock: &StoreLock) -> Option<&str> {
    let pins = lock.store().source().pins.as_ref();
    pins.and_then(|pins| pins.suite_of(QEMU.name))
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
pub fn provision_kernel(
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, ArtifactError> {
    let error = match kernel_of_packages(None, lock, progress) {
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

/// Provisions the kernel of a suite, such as `trixie`.
///
/// # Errors
/// If the packages cannot be fetched or unpacked.
pub fn provision_kernel_of(
    suite: &str,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, ArtifactError> {
    kernel_of_packages(Some(suite), lock, progress).map_err(Into::into)
}

/// Provides QEMU and the kernels of these suites from packages, also if the host has a QEMU, and returns
/// their versions.
///
/// # Errors
/// If the packages cannot be fetched or unpacked.
pub fn provision_packages(
    suites: &[&str],
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<Pins, ArtifactError> {
    ensure(lock, None, &QEMU, progress)?;
    for suite in suites {
        ensure(lock, Some(suite), &KERNEL, progress)?;
    }
    Ok(lock.pins())
}

fn kernel_of_packages(
    suite: Option<&str>,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, AptError> {
    let unpacked = ensure(lock, suite, &KERNEL, progress)?;
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
