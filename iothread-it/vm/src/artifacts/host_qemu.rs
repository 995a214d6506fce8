//! Finds and checks a QEMU on the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::manifest::{Origin, QemuInstall};
use crate::process::{BoundedCommand, CommandError};
use qmp_client::{QemuVersion, version_text};

/// Value of `-sandbox`: after a VM escape, QEMU can neither start programs, nor elevate privileges, nor
/// change priorities and affinities. This process sets those of its threads. A QEMU without seccomp
/// support refuses the option and exits.
pub(crate) const SANDBOX: &str =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Name of the program on `PATH`.
pub(crate) const QEMU_PROGRAM: &str = "qemu-system-x86_64";

/// How long QEMU may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a QEMU on the host cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostQemuError {
    /// There is no QEMU on `PATH`.
    #[error("`{QEMU_PROGRAM}` is not on PATH")]
    Absent,
    /// QEMU failed to print its version.
    #[error("cannot get the version of {}", path.display())]
    Broken {
        /// Path of the program.
        path: PathBuf,
        /// The failure.
        source: CommandError,
    },
    /// The output contains no version.
    #[error("{} is not QEMU: it printed `{printed}` as its version", path.display())]
    NoVersion {
        /// Path of the program.
        path: PathBuf,
        /// The first line of the output.
        printed: String,
    },
    /// QEMU is too old.
    #[error("{} is QEMU {found}, which is older than {}", path.display(), QemuVersion::OLDEST)]
    TooOld {
        /// Path of the program.
        path: PathBuf,
        /// The version.
        found: QemuVersion,
    },
}

/// Finds an executable on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH")?;
    let executable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(executable)
}

/// Returns the QEMU on `PATH` if it can be used.
pub(crate) fn find() -> Result<QemuInstall, HostQemuError> {
    probe(&on_path(QEMU_PROGRAM).ok_or(HostQemuError::Absent)?)
}

/// Reads the version of a QEMU and checks that it is new enough.
pub(crate) fn probe(path: &Path) -> Result<QemuInstall, HostQemuError> {
    probe_within(path, VERSION_TIMEOUT)
}

fn probe_within(path: &Path, deadline: Duration) -> Result<QemuInstall, HostQemuError> {
    // A path without a slash would be searched on PATH.
    let program = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(&program);
    // A QEMU without seccomp support refuses the first option.
    command.args(["-sandbox", SANDBOX, "-version"]);
    let what = format!("{QEMU_PROGRAM} -sandbox {SANDBOX} -version");
    let finished = BoundedCommand::new(&what, command, deadline).succeed(|_| {});
    let finished = finished.map_err(|source| HostQemuError::Broken {
        path: path.into(),
        source,
    })?;
    let printed = finished.stdout.join("\n");
    let (Some(found), Some(text)) = (QemuVersion::parse(&printed), version_text(&printed)) else {
        let printed = printed.lines().next().unwrap_or_default().to_owned();
        return Err(HostQemuError::NoVersion {
            path: path.into(),
            printed,
        });
    };
    if found < QemuVersion::OLDEST {
        return Err(HostQemuError::TooOld {
            path: path.into(),
            found,
        });
    }
    Ok(QemuInstall {
        version: text.to_owned(),
        program,
        prefix_args: Vec::new(),
        env: BTreeMap::new(),
        origin: Origin::Host,
    })
}

#[cfg(test)]
mod tests {
    //! **Scope**: scripts in place of QEMU. The suite uses a real QEMU.

    use std::os::unix::fs::PermissionsExt as _;

    use super::super::error::with_causes;
    use super::*;

    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(QEMU_PROGRAM);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    }

    fn probed(body: &str) -> Result<QemuInstall, HostQemuError> {
        let (_directory, path) = script(body);
        probe_within(&path, Duration::from_millis(500))
    }

    #[test]
    fn the_version_is_read_with_its_suffix() {
        let qemu =
            probed("[ \"$3\" = -version ] && echo 'QEMU emulator version 7.2.0 (Own 1)'").unwrap();
        assert_eq!(qemu.version, "7.2.0 (Own 1)");
        assert_eq!(qemu.origin, Origin::Host);
    }

    #[test]
    fn a_qemu_without_seccomp_is_refused() {
        const SAYS: &str = "-sandbox support is not enabled in this QEMU binary";
        let script = format!(
            "[ \"$1\" = -sandbox ] && {{ echo '{SAYS}' >&2; exit 1; }}\n\
             echo 'QEMU emulator version 7.2.0'"
        );
        let refused = with_causes(&probed(&script).unwrap_err());
        assert!(refused.contains(SAYS), "{refused}");
    }

    #[test]
    fn each_unusable_qemu_has_an_error_of_its_own() {
        let error = |body| probed(body).unwrap_err();
        assert!(matches!(
            error("echo QEMU emulator version 7.1.9"),
            HostQemuError::TooOld { .. }
        ));
        assert!(matches!(
            error("echo hello"),
            HostQemuError::NoVersion { .. }
        ));
        let broken = with_causes(&error("echo no libpixman >&2; exit 127"));
        assert!(broken.contains("no libpixman"), "{broken}");
        let hanging = with_causes(&error("exec sleep 60"));
        assert!(hanging.contains("was killed"), "{hanging}");
        let absent = probe(Path::new("/nonexistent/qemu")).unwrap_err();
        assert!(matches!(
            absent,
            HostQemuError::Broken {
                source: CommandError::Spawn { .. },
                ..
            }
        ));
    }
}
