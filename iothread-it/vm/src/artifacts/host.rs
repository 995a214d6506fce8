//! A QEMU that is already on the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::manifest::{Origin, QemuInstall};
use crate::process::{ChildError, Run};
use qmp_client::{QemuVersion, version_text};

/// System calls that QEMU needs none of, so that whoever breaks out of a guest cannot use them: it may
/// neither start programs, nor get other privileges, nor change priorities and affinities. Those of
/// its threads are set from outside. A QEMU that was built without seccomp says so and ends.
pub(crate) const SANDBOX: &str =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The emulator's name on `PATH`.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// Ample for a program that prints two lines, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a QEMU on the host is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HostQemuError {
    /// There is none.
    #[error("`{PROGRAM}` is not on PATH")]
    Absent,
    /// It does not even say its version.
    #[error("{} is broken", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: ChildError,
    },
    /// What it says is no version.
    #[error("{} says no version of QEMU: `{printed}`", path.display())]
    NoVersion {
        /// The file.
        path: PathBuf,
        /// What it printed.
        printed: String,
    },
    /// It lacks what is needed.
    #[error("{} is QEMU {found}, which is older than {}", path.display(), QemuVersion::OLDEST)]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: QemuVersion,
    },
}

/// Finds a program as a shell would.
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

/// Returns the QEMU on `PATH`, if it can be used.
pub(crate) fn find() -> Result<QemuInstall, HostQemuError> {
    probe(&on_path(PROGRAM).ok_or(HostQemuError::Absent)?)
}

/// Asks a QEMU for its version, and refuses one that is too old.
pub(crate) fn probe(path: &Path) -> Result<QemuInstall, HostQemuError> {
    probe_within(path, DEADLINE)
}

fn probe_within(path: &Path, deadline: Duration) -> Result<QemuInstall, HostQemuError> {
    // A path without a slash would be looked for on PATH instead.
    let program = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(&program);
    // One that was built without seccomp refuses the first option.
    command.args(["-sandbox", SANDBOX, "-version"]);
    let what = format!("{PROGRAM} -sandbox {SANDBOX} -version");
    let finished = Run {
        what: &what,
        command,
        deadline,
        input: b"",
    }
    .succeed(|_| {})
    .map_err(|source| HostQemuError::Broken {
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
    //! **Scope**: scripts in QEMU's place; a real QEMU is what the suite boots.

    use std::os::unix::fs::PermissionsExt as _;

    use super::super::error::with_causes;
    use super::*;

    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(PROGRAM);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    }

    fn probed(body: &str) -> Result<QemuInstall, HostQemuError> {
        let (_directory, path) = script(body);
        probe_within(&path, Duration::from_millis(500))
    }

    #[test]
    fn a_new_enough_qemu_is_taken_with_its_suffix() {
        let qemu =
            probed("[ \"$3\" = -version ] && echo 'QEMU emulator version 7.2.0 (Own 1)'").unwrap();
        assert_eq!(qemu.version, "7.2.0 (Own 1)");
        assert_eq!(qemu.origin, Origin::Host);
    }

    #[test]
    fn a_qemu_without_seccomp_says_so() {
        const SAYS: &str = "-sandbox support is not enabled in this QEMU binary";
        let script = format!(
            "[ \"$1\" = -sandbox ] && {{ echo '{SAYS}' >&2; exit 1; }}\n\
             echo 'QEMU emulator version 7.2.0'"
        );
        let refused = with_causes(&probed(&script).unwrap_err());
        assert!(refused.contains(SAYS), "{refused}");
    }

    #[test]
    fn each_useless_qemu_is_told_apart() {
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
                source: ChildError::Spawn { .. },
                ..
            }
        ));
    }
}
