//! The choice between what the host has and what packages have.

use super::apt::{AptError, PackageSet, Unpacked, ensure};
use super::choice::QemuChoice;
use super::error::{ArtifactError, with_causes};
use super::kernel::KernelInstall;
use super::manifest::{Origin, QemuInstall};
use super::progress::Progress;
use super::store::StoreLock;
use super::{host, kernel, private};

const QEMU: PackageSet = PackageSet {
    name: "qemu",
    candidates: &["qemu-system-x86"],
    needs: |_| true,
    check: |root| Ok(private::check(root)?),
};

/// Kernels made for virtual machines first: they are small and have what a guest needs built in.
const KERNEL: PackageSet = PackageSet {
    name: "kernel",
    candidates: &[
        "linux-image-cloud-amd64",
        "linux-image-virtual",
        "linux-image-amd64",
        "linux-image-generic",
    ],
    // The rest is there to make the kernel's own boot image, which we do not use.
    needs: |package| package.name().starts_with("linux-"),
    check: kernel::check,
};

/// Provides QEMU and a kernel, and if neither can be had, says so in one message.
///
/// # Errors
/// If the QEMU that was asked for is of no use, or something is neither on the host nor in
/// packages that can be fetched.
pub fn provision(
    choice: &QemuChoice,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<(QemuInstall, KernelInstall), ArtifactError> {
    // Any other failure would only be repeated for the kernel, after a longer wait.
    let qemu = match provision_qemu(choice, lock, progress) {
        Err(ArtifactError::NothingThere { qemu, .. }) => Err(qemu),
        result => Ok(result?),
    };
    let kernel = match provision_kernel(lock, progress) {
        Err(ArtifactError::NothingThere { .. }) => None,
        result => Some(result?),
    };
    match (qemu, kernel) {
        (Ok(qemu), Some(kernel)) => Ok((qemu, kernel)),
        (qemu, kernel) => Err(ArtifactError::NothingThere {
            qemu: qemu.err().flatten(),
            kernel: kernel.is_none(),
        }),
    }
}

/// Provides QEMU as chosen.
///
/// # Errors
/// As for [`provision`].
pub fn provision_qemu(
    choice: &QemuChoice,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<QemuInstall, ArtifactError> {
    let suite = match choice {
        QemuChoice::Host => return Ok(host::find()?),
        QemuChoice::Path(path) => return Ok(host::probe(path)?),
        QemuChoice::Suite(suite) => return qemu_of_packages(Some(suite), lock, progress),
        QemuChoice::Auto => None,
    };
    let useless = match host::find() {
        Ok(qemu) => return Ok(qemu),
        Err(useless) => useless,
    };
    if !matches!(useless, host::HostQemuError::Absent) {
        let why = with_causes(&useless);
        progress.noted(&format!("{why}; QEMU is taken from packages instead"));
    }
    match qemu_of_packages(suite, lock, progress) {
        Err(ArtifactError::Apt(AptError::NoApt { .. })) => Err(ArtifactError::NothingThere {
            qemu: Some(with_causes(&useless)),
            kernel: false,
        }),
        result => result,
    }
}

fn qemu_of_packages(
    suite: Option<&str>,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<QemuInstall, ArtifactError> {
    let unpacked = ensure(lock, suite, &QEMU, progress)?;
    let launch = private::Launch::below(&unpacked.root).map_err(AptError::from)?;
    Ok(QemuInstall {
        program: launch.program,
        prefix_args: launch.prefix_args,
        env: launch.env,
        version: unpacked.finding.clone(),
        origin: origin(&unpacked, "qemu-system-x86"),
    })
}

/// Provides a kernel: from packages, or without apt the one that this host runs.
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
                "{error}; the guest boots this host's own kernel instead"
            ));
            Ok(kernel)
        }
        (None, AptError::NoApt { .. }) => Err(ArtifactError::NothingThere {
            qemu: None,
            kernel: true,
        }),
        (None, error) => Err(error.into()),
    }
}

/// Provides the kernel in the packages of a suite, such as `trixie`.
///
/// # Errors
/// If it cannot be fetched.
pub fn provision_kernel_of(
    suite: &str,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<KernelInstall, ArtifactError> {
    kernel_of_packages(Some(suite), lock, progress).map_err(Into::into)
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
