//! By what a template is found: all that the guest in it was made of.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::artifacts::{FileState, Manifest, QemuInstall, hex};

/// The layout of a template's files; those of another are never found.
const LAYOUT: u32 = 1;

/// Stands for all that a guest was made of. Two that differ in anything have different keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

/// What a key is made of.
#[derive(Serialize)]
struct Parts<'a> {
    layout: u32,
    /// Path, version and origin, and the environment that it runs in.
    qemu: &'a QemuInstall,
    /// The build: QEMU's own file, and the loader's if it has one.
    programs: Vec<FileState>,
    /// Topology, threads, memory, CPUs, accelerator, kernel arguments.
    command_line: &'a [OsString],
    kernel: FileState,
    initramfs: FileState,
    agent: &'a str,
    /// A guest that runs on the host's own CPU cannot go on on another, nor an emulated one of
    /// `-cpu max` if the host changes what is emulated.
    host: String,
}

impl Key {
    /// Makes the key of the guest that this command line, of this manifest, starts.
    ///
    /// # Errors
    /// If a file that it is made of cannot be looked at.
    pub(crate) fn of(manifest: &Manifest, command_line: &[OsString]) -> std::io::Result<Self> {
        let parts = Parts {
            layout: LAYOUT,
            qemu: &manifest.qemu,
            programs: programs(&manifest.qemu)?,
            command_line,
            kernel: FileState::of(manifest.guest.bootable_kernel())?,
            initramfs: FileState::of(&manifest.guest.initramfs)?,
            agent: &manifest.guest.agent_sha256,
            host: host()?,
        };
        let text = serde_json::to_vec(&parts)?;
        Ok(Self(hex(&Sha256::digest(text))))
    }

    /// Reads a key that is the name of a file.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let is_key = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Self(name.to_owned()))
    }

    /// Returns it as the name that its files have in common.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A private QEMU is an argument of the loader that it came with.
fn programs(qemu: &QemuInstall) -> std::io::Result<Vec<FileState>> {
    let arguments = qemu.prefix_args.iter().map(PathBuf::from);
    let files = arguments.filter(|path| path.is_absolute() && path.is_file());
    std::iter::once(qemu.program.clone())
        .chain(files)
        .map(|path| FileState::of(&path))
        .collect()
}

/// The host's CPU and kernel.
fn host() -> std::io::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let told = ["vendor_id", "cpu family", "model", "stepping", "flags"];
    let cpu = cpus.lines().take_while(|line| !line.is_empty());
    let cpu = cpu.filter(|line| told.iter().any(|name| line.starts_with(name)));
    Ok(cpu.fold(release, |text, line| text + line + "\n"))
}

/// Returns the file of a kind that belongs to a key.
pub(super) fn file(folder: &Path, key: &Key, kind: &str) -> PathBuf {
    folder.join(format!("{key}.{kind}"))
}

#[cfg(test)]
mod tests {
    //! **Scope**: files that are made up; that a restored guest is of the right shape is the
    //! suite's to show.

    use std::collections::BTreeMap;

    use super::*;
    use crate::artifacts::{GuestImage, Origin};
    use crate::config::{HypervisorConfig, IoThreads, Machine};
    use crate::qemu::{Accelerator, Memory, Shape, Topology, Wiring, arguments};

    struct Place {
        directory: tempfile::TempDir,
        manifest: Manifest,
        shape: Shape,
        accelerator: Accelerator,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str| {
                let path = directory.path().join(name);
                fs::write(&path, name).unwrap();
                path
            };
            let manifest = Manifest {
                qemu: QemuInstall {
                    program: file("loader"),
                    prefix_args: vec![file("qemu").to_string_lossy().into_owned(), "-L".into()],
                    env: BTreeMap::new(),
                    version: "7.2.22 (Debian 1)".into(),
                    origin: Origin::Host,
                },
                guest: GuestImage {
                    kernel: file("vmlinuz"),
                    vmlinux: Some(file("vmlinux")),
                    kernel_release: "6.1".into(),
                    initramfs: file("initramfs"),
                    agent_sha256: "a".into(),
                    origin: Origin::Host,
                },
            };
            Self {
                manifest,
                directory,
                shape: Shape::new(HypervisorConfig::default()),
                accelerator: Accelerator::Kvm,
            }
        }

        fn key(&self) -> Key {
            let wiring = Wiring::default();
            let manifest = &self.manifest;
            let line = arguments(
                &self.shape,
                &self.accelerator,
                manifest,
                wiring,
                &Memory::Own,
            );
            Key::of(&self.manifest, &line).unwrap()
        }

        /// Writes other bytes of the same length into a file, and sets its time back.
        fn rewrite(&self, name: &str) {
            let path = self.directory.path().join(name);
            let modified = path.metadata().unwrap().modified().unwrap();
            fs::write(&path, name.to_uppercase()).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        }
    }

    #[test]
    fn the_same_has_the_same_key() {
        let place = Place::new();
        assert_eq!(place.key(), place.key());
        assert_eq!(place.key().as_str().len(), 64);
    }

    #[test]
    fn each_component_alone_makes_another_key() {
        type Change = fn(&mut Place);
        let changes: [(&str, Change); 20] = [
            ("QEMU's version", |p| p.manifest.qemu.version.push('1')),
            ("QEMU's build", |p| p.rewrite("qemu")),
            ("the loader's build", |p| p.rewrite("loader")),
            ("QEMU's path", |p| {
                let other = p.directory.path().join("other");
                fs::copy(p.directory.path().join("qemu"), &other).unwrap();
                p.manifest.qemu.prefix_args[0] = other.to_string_lossy().into_owned();
            }),
            ("the loader's path", |p| {
                p.manifest.qemu.program = p.directory.path().join("vmlinuz");
            }),
            ("QEMU's package", |p| {
                p.manifest.qemu.origin = Origin::Packages {
                    suite: "sid".into(),
                    version: "1".into(),
                };
            }),
            ("QEMU's arguments", |p| {
                p.manifest.qemu.prefix_args[1].push('x');
            }),
            ("QEMU's environment", |p| {
                p.manifest
                    .qemu
                    .env
                    .insert("QEMU_MODULE_DIR".into(), "x".into());
            }),
            ("the kernel", |p| p.rewrite("vmlinux")),
            ("the kernel's packing", |p| p.manifest.guest.vmlinux = None),
            ("the initramfs", |p| p.rewrite("initramfs")),
            ("the agent", |p| p.manifest.guest.agent_sha256.push('b')),
            ("the accelerator", |p| {
                p.accelerator = Accelerator::Tcg { why: String::new() };
            }),
            ("the machine", |p| p.shape.topology = Topology::Pc),
            ("the hotplug", |p| p.shape.topology = Topology::Q35Native),
            ("the slots", |p| p.shape.root_ports += 1),
            ("the vCPUs", |p| p.shape.config.vcpus += 1),
            ("the memory", |p| p.shape.config.memory_mib += 1),
            ("the threads", |p| p.shape.config.iothreads.count += 1),
            ("the polling", |p| {
                p.shape.config.iothreads.polling.max_ns = Some(1);
            }),
        ];
        let mut place = Place::new();
        place.shape.topology = Machine::Q35.into();
        let mut keys = vec![place.key()];
        for (what, change) in changes {
            change(&mut place);
            let key = place.key();
            assert!(!keys.contains(&key), "{what} makes no difference");
            keys.push(key);
        }
    }

    #[test]
    fn where_threads_are_bound_makes_no_difference() {
        let mut place = Place::new();
        let unbound = place.key();
        place.shape.config.iothreads = IoThreads {
            cpus: vec!["0".parse().unwrap()],
            ..place.shape.config.iothreads
        };
        assert_eq!(place.key(), unbound);
    }
}
