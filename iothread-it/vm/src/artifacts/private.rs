//! A QEMU out of packages that nobody installed: started by the loader it came with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::host::{PROGRAM, SANDBOX};
use crate::process::{ChildError, Run};
use qmp_client::{QemuVersion, version_text};

/// Ample for a QEMU without a machine, also on a busy host.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where packages put the loader; a link at one of these places may lead out of the root.
const LOADERS: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/lib64/ld-linux-x86-64.so.2",
    "lib64/ld-linux-x86-64.so.2",
];

/// Where packages put libraries, some of them in directories that only an rpath names.
const LIBRARIES: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
    "usr/lib/x86_64-linux-gnu/ceph",
    "usr/lib",
    "lib",
];

/// Where packages put firmware and option ROMs.
const FIRMWARE: [&str; 4] = [
    "usr/share/qemu",
    "usr/share/seabios",
    "usr/lib/ipxe/qemu",
    "usr/share/OVMF",
];

/// Where packages put QEMU's modules.
const MODULES: [&str; 2] = ["usr/lib/x86_64-linux-gnu/qemu", "usr/lib/qemu"];

/// Why an unpacked QEMU does not work.
#[derive(Debug, thiserror::Error)]
pub enum PrivateQemuError {
    /// The packages lack a file that is needed to start it.
    #[error("the packages hold no {what}")]
    Lacks {
        /// What is missing.
        what: &'static str,
    },
    /// It fails when it is started.
    #[error("the unpacked QEMU does not run")]
    Fails(#[from] ChildError),
    /// It is older than what is needed.
    #[error(
        "the packages hold QEMU {found}, which is older than {}",
        QemuVersion::OLDEST
    )]
    TooOld {
        /// Its version.
        found: QemuVersion,
    },
    /// It starts and says something else than QEMU does.
    #[error("the unpacked QEMU says `{printed}` to {asked}")]
    Odd {
        /// What it was asked.
        asked: &'static str,
        /// What it said.
        printed: String,
    },
}

/// How a QEMU below some root is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) prefix_args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

impl Launch {
    /// Works out how to start the QEMU below `root`.
    pub(crate) fn below(root: &Path) -> Result<Self, PrivateQemuError> {
        let missing = |what| PrivateQemuError::Lacks { what };
        let stays_inside = |path: &PathBuf| {
            let real = (path.canonicalize(), root.canonicalize());
            matches!(real, (Ok(path), Ok(root)) if path.is_file() && path.starts_with(&root))
        };
        let program = LOADERS
            .iter()
            .map(|loader| root.join(loader))
            .find(stays_inside);
        let qemu = Some(root.join("usr/bin").join(PROGRAM)).filter(stays_inside);
        let mut prefix_args = vec![
            "--library-path".to_owned(),
            directories(root, &LIBRARIES).join(":"),
            shown(&qemu.ok_or(missing(PROGRAM))?),
        ];
        for directory in directories(root, &FIRMWARE) {
            prefix_args.extend(["-L".to_owned(), directory]);
        }
        let modules = directories(root, &MODULES).into_iter().next();
        let env = modules
            .map(|modules| ("QEMU_MODULE_DIR".to_owned(), modules))
            .into_iter()
            .collect();
        Ok(Self {
            program: program.ok_or(missing("loader"))?,
            prefix_args,
            env,
        })
    }

    fn run(&self, what: &str, args: &[&str], input: &[u8]) -> Result<Vec<String>, ChildError> {
        let mut command = Command::new(&self.program);
        command.args(&self.prefix_args).args(args).envs(&self.env);
        Ok(Run {
            what,
            command,
            deadline: DEADLINE,
            input,
        }
        .succeed(|_| {})?
        .stdout)
    }
}

fn directories(root: &Path, names: &[&str]) -> Vec<String> {
    let paths = names.iter().map(|name| root.join(name));
    paths
        .filter(|path| path.is_dir())
        .map(|path| shown(&path))
        .collect()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Tries a QEMU out of packages and returns its version: that it starts, that it is new enough,
/// that it has an emulating accelerator, which on some releases is a module of its own, and that it was
/// built with seccomp.
pub(crate) fn check(root: &Path) -> Result<String, PrivateQemuError> {
    let launch = Launch::below(root)?;
    let printed = launch.run("qemu -version", &["-version"], b"")?.join("\n");
    let odd = |asked, printed: &str| PrivateQemuError::Odd {
        asked,
        printed: printed.to_owned(),
    };
    let found = QemuVersion::parse(&printed).ok_or_else(|| odd("-version", &printed))?;
    if found < QemuVersion::OLDEST {
        return Err(PrivateQemuError::TooOld { found });
    }
    let args = "-machine none -accel tcg -nodefaults -display none -no-user-config -qmp stdio";
    let sandbox = ["-sandbox", SANDBOX];
    let args: Vec<_> = args.split(' ').chain(sandbox).collect();
    let talk = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n";
    let said = launch
        .run("qemu -machine none -accel tcg", &args, talk)?
        .join("\n");
    if !said.contains("SHUTDOWN") {
        return Err(odd("`quit`", &said));
    }
    let machines = launch.run("qemu -machine help", &["-machine", "help"], b"")?;
    if !machines.iter().any(|line| line.starts_with("q35 ")) {
        return Err(odd("-machine help", &machines.join("\n")));
    }
    let text = version_text(&printed).and_then(|text| text.lines().next());
    Ok(text.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    //! **Scope**: where files are looked for; that an unpacked QEMU runs is checked whenever one is
    //! unpacked.

    use super::*;

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn nothing_outside_the_root_is_started() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "usr/bin/qemu-system-x86_64");
        // Packages make this link for a system that they are the root of.
        std::fs::create_dir(root.join("lib64")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", root.join("lib64/ld-linux-x86-64.so.2")).unwrap();
        let lacks = Launch::below(root).unwrap_err();
        assert!(
            matches!(lacks, PrivateQemuError::Lacks { what: "loader" }),
            "{lacks}"
        );

        put(root, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        put(root, "usr/share/seabios/bios.bin");
        put(root, "usr/lib/x86_64-linux-gnu/qemu/accel-tcg.so");
        let launch = Launch::below(root).unwrap();
        assert_eq!(
            launch.program,
            root.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
        );
        let firmware = launch
            .prefix_args
            .iter()
            .skip_while(|arg| *arg != "-L")
            .nth(1);
        assert_eq!(firmware, Some(&shown(&root.join("usr/share/seabios"))));
        let modules = shown(&root.join("usr/lib/x86_64-linux-gnu/qemu"));
        assert_eq!(launch.env.get("QEMU_MODULE_DIR"), Some(&modules));
    }

    #[test]
    fn packages_without_qemu_are_refused() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let lacks = Launch::below(root.path()).unwrap_err();
        assert!(
            matches!(lacks, PrivateQemuError::Lacks { what: PROGRAM }),
            "{lacks}"
        );
    }
}
