//! Why there is nothing to boot from.

use super::apt::AptError;
use super::host::HostQemuError;
use super::store::StoreError;
use crate::process::ChildError;

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
    #[error(
        "the QEMU asked for is of no use; install QEMU {} or newer, or choose `auto`",
        qmp_client::QemuVersion::OLDEST
    )]
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

/// Names everything that is missing and to be installed, at once.
fn instructions(qemu: Option<&str>, kernel: bool) -> String {
    let mut missing = Vec::new();
    let mut steps = Vec::new();
    if let Some(why) = qemu {
        missing.push(format!("no QEMU ({why})"));
        steps.push("install QEMU 7.2 or newer, so that `qemu-system-x86_64` is on PATH".to_owned());
    }
    if kernel {
        let image = super::kernel::host_image_name();
        missing.push("no readable Linux kernel".to_owned());
        steps.push(format!(
            "make this host's kernel readable, {image} and its modules"
        ));
    }
    format!(
        "there is {} for the guest, and no apt (`apt-get`, `apt-config`, `dpkg-deb`) to fetch \
         packages with; {}",
        missing.join(" and "),
        steps.join(", and "),
    )
}

/// Writes an error with its causes in one line, for where it is only told and not returned.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    //! **Scope**: the texts.

    use super::*;

    #[test]
    fn one_message_names_all_that_is_missing() {
        let said = |qemu: Option<&str>, kernel| {
            ArtifactError::NothingThere {
                qemu: qemu.map(str::to_owned),
                kernel,
            }
            .to_string()
        };
        let both = said(Some("it is broken"), true);
        for words in [
            "it is broken",
            "QEMU 7.2 or newer",
            "`qemu-system-x86_64`",
            "/boot/vmlinuz-",
        ] {
            assert!(both.contains(words), "{both}");
        }
        assert!(!said(Some("x"), false).contains("vmlinuz"));
        assert!(!said(None, true).contains("QEMU 7.2"));
    }

    #[test]
    fn causes_follow_in_one_line() {
        let source = ChildError::Spawn {
            what: "qemu".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let error = HostQemuError::Broken {
            path: "/q".into(),
            source,
        };
        assert_eq!(
            with_causes(&error),
            "/q is broken: qemu cannot be started: entity not found"
        );
    }
}
