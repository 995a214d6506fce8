//! Errors of provisioning.

use super::apt::AptError;
use super::host_qemu::HostQemuError;
use super::kernels::NoSuchKernel;
use super::store::StoreError;
use crate::process::CommandError;

/// Why QEMU or a kernel could not be provisioned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// QEMU or the kernel is neither on the host nor available as a package.
    #[error("{}", instructions(.qemu.as_deref(), *.kernel))]
    Missing {
        /// Why the QEMU on the host cannot be used, if QEMU is missing.
        qemu: Option<String>,
        /// Whether the kernel is missing.
        kernel: bool,
    },
    /// The chosen QEMU cannot be used.
    #[error(
        "the chosen QEMU cannot be used; install QEMU {} or newer, or choose `auto`",
        qmp_client::QemuVersion::OLDEST
    )]
    HostQemu(#[from] HostQemuError),
    /// Packages could not be fetched or unpacked.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The archive does not have the kernel.
    #[error(transparent)]
    Kernel(#[from] NoSuchKernel),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A program failed.
    #[error(transparent)]
    Child(#[from] CommandError),
}

/// Lists what is missing and how to provide it.
fn instructions(qemu: Option<&str>, kernel: bool) -> String {
    let mut missing = Vec::new();
    let mut steps = Vec::new();
    if let Some(why) = qemu {
        missing.push(format!("no QEMU ({why})"));
        steps.push(
            "install apt and dpkg, or QEMU 7.2 or newer, so that `qemu-system-x86_64` is on PATH, and name a kernel with \
             `--kernel`"
                .to_owned(),
        );
    }
    if kernel {
        let image = super::kernel::host_image_name();
        missing.push("no readable Linux kernel".to_owned());
        steps.push(format!(
            "make this host's kernel readable, {image} and its modules"
        ));
    }
    format!(
        "{} found for the guest, and no apt (`apt-get`, `apt-config`, `dpkg-deb`) to fetch packages; {}",
        missing.join(" and "),
        steps.join(", and "),
    )
}

/// Formats an error and its sources in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    //! **Scope**: messages.

    use super::*;

    #[test]
    fn one_message_lists_everything_missing() {
        let message = |qemu: Option<&str>, kernel| {
            ArtifactError::Missing {
                qemu: qemu.map(str::to_owned),
                kernel,
            }
            .to_string()
        };
        let both = message(Some("it is broken"), true);
        for words in [
            "it is broken",
            "QEMU 7.2 or newer",
            "`qemu-system-x86_64`",
            "/boot/vmlinuz-",
        ] {
            assert!(both.contains(words), "{both}");
        }
        assert!(!message(Some("x"), false).contains("vmlinuz"));
        assert!(!message(None, true).contains("QEMU 7.2"));
    }

    #[test]
    fn sources_are_appended_in_one_line() {
        let source = CommandError::Spawn {
            what: "qemu".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let error = HostQemuError::Broken {
            path: "/q".into(),
            source,
        };
        assert_eq!(
            with_causes(&error),
            "cannot get the version of /q: cannot start qemu: entity not found"
        );
    }
}
