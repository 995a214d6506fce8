//! Why there is nothing to boot from.

use super::apt::AptError;
use super::child::ChildError;
use super::host::HostQemuError;
use super::store::StoreError;

/// Why QEMU or a kernel could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Neither the host nor packages have what is needed.
    #[error("{}", instructions(.qemu.as_deref(), *.kernel))]
    NothingThere {
        /// Why the host's QEMU is of no use, if QEMU is missing.
        qemu: Option<String>,
        /// Whether a kernel is missing.
        kernel: bool,
    },
    /// The QEMU that was asked for is of no use.
    #[error(transparent)]
    HostQemu(#[from] HostQemuError),
    /// Packages could not be had.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A program failed.
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// Names everything that is to be installed, at once.
fn instructions(qemu: Option<&str>, kernel: bool) -> String {
    let mut missing = Vec::new();
    let mut steps = Vec::new();
    if let Some(why) = qemu {
        missing.push(format!("QEMU ({why})"));
        steps.push("install QEMU 7.2 or newer, so that `qemu-system-x86_64` is on PATH".to_owned());
    }
    if kernel {
        missing.push("a Linux kernel for the guest".to_owned());
        steps.push(format!(
            "make this host's kernel readable, {} with its modules",
            super::kernel::host_image_name()
        ));
    }
    format!(
        "{} is missing, and without apt (`apt-get`, `apt-config` and `dpkg-deb` on PATH) it cannot \
         be fetched; {}",
        missing.join(" and "),
        steps.join(", and ")
    )
}
