//! The key of a template: a hash of every input of its guest.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::artifacts::{FileState, Manifest, QemuInstall, hex};
use crate::qemu::MAX_NUMA_NODES;

/// Version of the layout of a template's files.
const LAYOUT: u32 = 1;

/// Identifies the inputs of a guest. Guests that differ in any input have different keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateKey(String);

/// The inputs.
#[derive(Serialize)]
struct Parts<'a> {
    layout: u32,
    /// Path, arguments, environment, version and origin.
    qemu: &'a QemuInstall,
    /// The build: the file of QEMU, and of its loader if it has one.
    programs: Vec<FileState>,
    /// Topology, threads, memory, CPUs, accelerator, kernel arguments.
    command_line: &'a [OsString],
    kernel: FileState,
    initramfs: FileState,
    agent: &'a str,
    /// The CPU and kernel of the host: a guest with the host's CPU model cannot be restored on another.
    host: String,
}

impl TemplateKey {
    /// Makes the key of the guest that this command line starts.
    ///
    /// # Errors
    /// If an input cannot be read.
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

    /// Parses the name of a file.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let is_key = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Self(name.to_owned()))
    }

    /// Returns the common prefix of the names of its files.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the files of QEMU. An unpacked QEMU is an argument of its loader.
fn programs(qemu: &QemuInstall) -> std::io::Result<Vec<FileState>> {
    let arguments = qemu.prefix_args.iter().map(PathBuf::from);
    let files = arguments.filter(|path| path.is_absolute() && path.is_file());
    std::iter::once(qemu.program.clone())
        .chain(files)
        .map(|path| FileState::of(&path))
        .collect()
}

/// Describes the CPU and the kernel of the host.
fn host() -> std::io::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let fields = ["vendor_id", "cpu family", "model", "stepping", "flags"];
    let cpu = cpus.lines().take_while(|line| !line.is_empty());
    let cpu = cpu.filter(|line| fields.iter().any(|name| line.starts_with(name)));
    Ok(cpu.fold(release, |text, line| text + line + "\n"))
}

/// Returns the path of a file of a template.
pub(super) fn file(folder: &Path, key: &TemplateKey, kind: &str) -> PathBuf {
    folder.join(format!("{key}.{kind}"))
}

/// Returns the kinds of the memory files, one for each NUMA node.
pub(super) fn ram_kinds() -> impl Iterator<Item = String> {
    let more = (1..MAX_NUMA_NODES).map(|node| format!("ram{node}"));
    std::iter::once("ram".to_owned()).chain(more)
}

#[cfg(test)]
mod tests {
    //! **Scope**: made-up files. The suite restores real guests.

    use std::collections::BTreeMap;

    use super::*;
    use crate::artifacts::{GuestImage, Origin};
    use crate::config::{HypervisorConfig, IoThreads, Machine};
    use crate::qemu::{Accelerator, GuestMemory, Topology, VmSpec, arguments};

    struct Fixture {
        directory: tempfile::TempDir,
        manifest: Manifest,
        spec: VmSpec,
        accelerator: Accelerator,
    }

    impl Fixture {
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
                guest_with_tools: None,
            };
            Self {
                manifest,
                directory,
                spec: VmSpec::new(HypervisorConfig::default()),
                accelerator: Accelerator::Kvm,
            }
        }

        fn key(&self) -> TemplateKey {
            let manifest = &self.manifest;
            let line = arguments(
                &self.spec,
                &self.accelerator,
                manifest,
                &GuestMemory::Anonymous,
            );
            TemplateKey::of(&self.manifest, &line).unwrap()
        }

        /// Changes the content of a file, but not its size and modification time.
        fn rewrite(&self, name: &str) {
            let path = self.directory.path().join(name);
            let modified = path.metadata().unwrap().modified().unwrap();
            fs::write(&path, name.to_uppercase()).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        }
    }

    #[test]
    fn equal_inputs_have_the_same_key() {
        let place = Fixture::new();
        assert_eq!(place.key(), place.key());
        assert_eq!(place.key().as_str().len(), 64);
    }

    #[test]
    fn each_input_changes_the_key() {
        type Change = fn(&mut Fixture);
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
                p.accelerator = Accelerator::Tcg {
                    why: String::new(),
                    tsc_khz: None,
                };
            }),
            ("the machine", |p| p.spec.topology = Topology::Pc),
            ("the hotplug", |p| p.spec.topology = Topology::Q35Native),
            ("the slots", |p| p.spec.root_ports += 1),
            ("the vCPUs", |p| p.spec.config.vcpus += 1),
            ("the memory", |p| p.spec.config.memory_mib += 1),
            ("the threads", |p| p.spec.config.iothreads.count += 1),
            ("the polling", |p| {
                p.spec.config.iothreads.properties.poll_max_ns = Some(1);
            }),
        ];
        let mut place = Fixture::new();
        place.spec.topology = Machine::Q35.into();
        let mut keys = vec![place.key()];
        for (what, change) in changes {
            change(&mut place);
            let key = place.key();
            assert!(!keys.contains(&key), "{what} makes no difference");
            keys.push(key);
        }
    }

    #[test]
    fn pinning_does_not_change_the_key() {
        let mut place = Fixture::new();
        let unbound = place.key();
        place.spec.config.iothreads = IoThreads {
            cpus: vec!["0".parse().unwrap()],
            ..place.spec.config.iothreads
        };
        assert_eq!(place.key(), unbound);
    }
}
