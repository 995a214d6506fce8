//! Starts a QEMU from unpacked packages with the dynamic loader and the libraries of these packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::host_qemu::{QEMU_PROGRAM, SANDBOX};
use crate::process::{BoundedCommand, CommandError};
use qmp_client::{QemuVersion, version_text};

/// How long a QEMU without a machine may run.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Paths of the loader in packages. Some are links that lead out of the root.
const LOADERS: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/lib64/ld-linux-x86-64.so.2",
    "lib64/ld-linux-x86-64.so.2",
];

/// Library directories in packages, including those that only an rpath names.
const LIBRARIES: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
    "usr/lib/x86_64-linux-gnu/ceph",
    "usr/lib",
    "lib",
];

/// Directories of firmware and option ROMs in packages.
const FIRMWARE: [&str; 4] = [
    "usr/share/qemu",
    "usr/share/seabios",
    "usr/lib/ipxe/qemu",
    "usr/share/OVMF",
];

/// Directories of QEMU's modules in packages.
const MODULES: [&str; 2] = ["usr/lib/x86_64-linux-gnu/qemu", "usr/lib/qemu"];

/// Why an unpacked QEMU does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackedQemuError {
    /// A file is missing in the packages.
    #[error("the packages contain no {what}")]
    Lacks {
        /// The missing file.
        what: &'static str,
    },
    /// QEMU failed.
    #[error("the unpacked QEMU failed")]
    Fails(#[from] CommandError),
    /// QEMU is too old.
    #[error(
        "the packages contain QEMU {}, which is older than {}",
        .0,
        QemuVersion::OLDEST
    )]
    TooOld(QemuVersion),
    /// The output is not that of QEMU.
    #[error("the unpacked QEMU printed `{printed}` for {asked}")]
    Odd {
        /// The arguments.
        asked: &'static str,
        /// The output.
        printed: String,
    },
}

/// A QEMU below a root directory, and how to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnpackedQemu {
    pub(crate) program: PathBuf,
    pub(crate) prefix_args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

impl UnpackedQemu {
    /// Finds QEMU, its loader and its directories below `root`.
    pub(crate) fn below(root: &Path) -> Result<Self, UnpackedQemuError> {
        let missing = |what| UnpackedQemuError::Lacks { what };
        let program = loader(root);
        let qemu = root.join("usr/bin").join(QEMU_PROGRAM);
        let qemu = Some(qemu).filter(|qemu| stays_inside(qemu, root));
        let mut prefix_args = vec![
            "--library-path".to_owned(),
            library_folders(root).join(":"),
            shown(&qemu.ok_or(missing(QEMU_PROGRAM))?),
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

    fn run(&self, what: &str, args: &[&str], input: &[u8]) -> Result<Vec<String>, CommandError> {
        let mut command = Command::new(&self.program);
        command.args(&self.prefix_args).args(args).envs(&self.env);
        let run = BoundedCommand {
            input,
            ..BoundedCommand::new(what, command, START_TIMEOUT)
        };
        Ok(run.succeed(|_| {})?.stdout)
    }
}

/// Returns the dynamic loader below a root.
pub(super) fn loader(root: &Path) -> Option<PathBuf> {
    let mut loaders = LOADERS.iter().map(|loader| root.join(loader));
    loaders.find(|loader| stays_inside(loader, root))
}

/// Returns the folders of libraries below a root.
pub(super) fn library_folders(root: &Path) -> Vec<String> {
    directories(root, &LIBRARIES)
}

fn stays_inside(path: &Path, root: &Path) -> bool {
    let real = (path.canonicalize(), root.canonicalize());
    matches!(real, (Ok(path), Ok(root)) if path.is_file() && path.starts_with(&root))
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

/// Checks an unpacked QEMU and returns its version: it must start, be new enough, have TCG (a module on
/// some releases) and seccomp support.
pub(crate) fn check(root: &Path) -> Result<String, UnpackedQemuError> {
    let launch = UnpackedQemu::below(root)?;
    let printed = launch.run("qemu -version", &["-version"], b"")?.join("\n");
    let odd = |asked, printed: &str| UnpackedQemuError::Odd {
        asked,
        printed: printed.to_owned(),
    };
    let found = QemuVersion::parse(&printed).ok_or_else(|| odd("-version", &printed))?;
    if found < QemuVersion::OLDEST {
        return Err(UnpackedQemuError::TooOld(found));
    }
    let args = "-machine none -accel tcg -nodefaults -display none -no-user-config -qmp stdio";
    let sandbox = ["-sandbox", SANDBOX];
    let args: Vec<_> = args.split(' ').chain(sandbox).collect();
    let talk = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n";
    let output = launch
        .run("qemu -machine none -accel tcg", &args, talk)?
        .join("\n");
    if !output.contains("SHUTDOWN") {
        return Err(odd("`quit`", &output));
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
    //! **Scope**: the search for files. Provisioning checks that an unpacked QEMU runs.

    use super::*;

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn links_out_of_the_root_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "usr/bin/qemu-system-x86_64");
        // A link as in packages, relative to the root of an installed system.
        std::fs::create_dir(root.join("lib64")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", root.join("lib64/ld-linux-x86-64.so.2")).unwrap();
        let lacks = UnpackedQemu::below(root).unwrap_err();
        assert!(
            matches!(lacks, UnpackedQemuError::Lacks { what: "loader" }),
            "{lacks}"
        );

        put(root, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        put(root, "usr/share/seabios/bios.bin");
        put(root, "usr/lib/x86_64-linux-gnu/qemu/accel-tcg.so");
        let launch = UnpackedQemu::below(root).unwrap();
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
        let lacks = UnpackedQemu::below(root.path()).unwrap_err();
        assert!(
            matches!(lacks, UnpackedQemuError::Lacks { what: QEMU_PROGRAM }),
            "{lacks}"
        );
    }
}
