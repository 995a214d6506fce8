//! Builds the boot image, unless it is up to date.

use std::path::{Path, PathBuf};

use object::elf::{EM_X86_64, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use sha2::{Digest as _, Sha256};

use super::modules::{Module, ModuleError, Tree};
use super::{all_modules, signature};
use crate::artifacts::{
    FileError, FileState, GuestImage, KernelInstall, Origin, StoreError, StoreLock, cannot, hex,
};
use crate::cpio::Archive;
use crate::guest::{self, built_file};

/// Version of the layout. Images of another version are rebuilt.
const LAYOUT: u32 = 4;

/// The modules that the guest loads: drivers of both kinds of disks and of the port of the agent.
const MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_scsi",
    "sd_mod",
];

/// How many of them a kernel of the user's own needs: places have no SCSI disks.
const OF_OWN_KERNELS: usize = 3;

/// Returns the modules that the guest loads with a kernel.
fn wanted(kernel: &KernelInstall) -> &'static [&'static str] {
    match kernel.origin {
        Origin::Files { .. } => &MODULES[..OF_OWN_KERNELS],
        Origin::Host | Origin::Packages { .. } => &MODULES,
    }
}

/// Why a boot image could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The agent cannot be read, or the image cannot be written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The agent is not a static x86-64 executable.
    #[error(
        "the guest agent {} {reason}; build it with `cargo kata-test plan --places all` or `cargo xtask it`",
        path.display()
    )]
    UnfitAgent {
        /// Path of the agent.
        path: PathBuf,
        /// The problem.
        reason: &'static str,
    },
    /// The kernel's modules cannot be used.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The cache cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the folder for the images of an agent and a kernel, which is in use until this process ends.
///
/// # Errors
/// If the agent cannot be read, or the folder cannot be made.
pub fn folder(
    agent: &Path,
    kernel: &KernelInstall,
    lock: &StoreLock,
) -> Result<PathBuf, ImageError> {
    let program = read_agent(agent)?;
    let mut hasher = Sha256::new();
    hasher.update(Sha256::digest(program));
    for layout in [LAYOUT, all_modules::LAYOUT, guest::kernel::LAYOUT] {
        hasher.update(layout.to_le_bytes());
    }
    hasher.update(MODULES.join(" "));
    match &kernel.origin {
        Origin::Files { sha256, .. } => hasher.update(sha256),
        // The paths of unpacked packages contain their versions.
        Origin::Host | Origin::Packages { .. } => {
            for path in [Some(&kernel.image), kernel.modules.as_ref()] {
                let path = path.map(|path| path.as_os_str().as_encoded_bytes());
                hasher.update(path.unwrap_or_default());
            }
        }
    }
    let key = hex(&hasher.finalize()[..8]);
    let name = format!("{}-{key}", kernel.release);
    let folder = lock.store().images().join(name);
    lock.hold(&folder)?;
    Ok(folder)
}

fn read_agent(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(cannot("read the guest agent", path))
}

/// Builds the boot image `out` for a kernel, unless it is up to date. The file is replaced atomically.
///
/// # Errors
/// If the agent is not a static executable, the kernel lacks a module, or the image cannot be written.
pub fn build(agent: &Path, kernel: &KernelInstall, out: &Path) -> Result<GuestImage, ImageError> {
    let program = read_agent(agent)?;
    check_agent(&program).map_err(|reason| ImageError::UnfitAgent {
        path: agent.into(),
        reason,
    })?;
    let agent_sha256 = hex(&Sha256::digest(&program));
    let names: Vec<String> = wanted(kernel).iter().map(|&name| name.to_owned()).collect();
    let key = (LAYOUT, agent_sha256.clone(), names, kernel.modules.clone());
    if !built_file::is_current(out, &key) {
        let tree = kernel.modules.as_deref().map(Tree::read).transpose()?;
        let modules = tree.as_ref().map(|tree| tree.closure(wanted(kernel)));
        let modules = modules.transpose()?.unwrap_or_default();
        let unwritable = || cannot("write the boot image", out);
        let list = tree.as_ref().map(Tree::list);
        let inputs = modules.iter().map(|module| module.path.clone()).chain(list);
        let inputs = inputs.map(|path| FileState::of(&path));
        let inputs = inputs.collect::<Result<_, _>>().map_err(unwritable())?;
        built_file::write(out, &pack(program, modules), key, inputs).map_err(unwritable())?;
    }
    Ok(GuestImage {
        kernel: kernel.image.clone(),
        vmlinux: None,
        kernel_release: kernel.release.clone(),
        initramfs: out.to_owned(),
        agent_sha256,
        origin: kernel.origin.clone(),
    })
}

/// Checks that a file can run as init without libraries.
fn check_agent(program: &[u8]) -> Result<(), &'static str> {
    let file: ElfFile64<'_> =
        ElfFile64::parse(program).map_err(|_| "is not a 64-bit executable")?;
    let header = file.elf_header();
    let endian = file.endian();
    if header.e_machine(endian) != EM_X86_64 {
        return Err("is not for x86-64");
    }
    let mut segments = file.elf_program_headers().iter();
    if segments.any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Err("is not static, but the image contains no libraries");
    }
    Ok(())
}

/// Packs the files; see the table in the documentation of [`super`].
fn pack(agent: Vec<u8>, modules: Vec<Module>) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in ["dev", "lib", "lib/modules", "proc", "sys"] {
        archive.directory(directory, 0o755);
    }
    archive.directory("tmp", 0o1777);
    archive.character_device("dev/console", 0o600, (5, 1));
    archive.file("init", 0o755, agent);
    let mut load_order = String::new();
    for mut module in modules {
        signature::cut(&mut module.content);
        let file = format!("{}.ko", module.name.as_str());
        load_order.push_str(&file);
        load_order.push('\n');
        archive.file(&format!("lib/modules/{file}"), 0o644, module.content);
    }
    archive.file("lib/modules/load-order", 0o644, load_order.into_bytes());
    archive.to_bytes()
}

#[cfg(test)]
mod tests {
    //! **Scope**: the content, and when it is rebuilt. The suite shows that it boots.

    use std::os::unix::fs::MetadataExt as _;

    use super::super::modules::fixtures::{module, tree};
    use super::*;

    struct Fixture {
        directory: tempfile::TempDir,
        modules: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let files = MODULES.map(|name| (format!("{name}.ko"), ""));
            let files: Vec<_> = files
                .iter()
                .map(|(file, needs)| (file.as_str(), *needs))
                .collect();
            let place = Self {
                directory: tempfile::tempdir().unwrap(),
                modules: tree(&files, ""),
            };
            // A module has no program interpreter, so it passes for a static program.
            place.set_agent("one");
            place
        }

        fn set_agent(&self, text: &str) {
            std::fs::write(self.directory.path().join("agent"), module(text)).unwrap();
        }

        fn out(&self) -> PathBuf {
            self.directory.path().join("images/initramfs")
        }

        /// Builds the image and returns its inode, which differs if it was rebuilt.
        fn build(&self) -> u64 {
            let kernel = KernelInstall {
                image: "vmlinuz".into(),
                release: "6.1".into(),
                modules: Some(self.modules.path().into()),
                origin: Origin::Host,
            };
            // Kept open, so that the old inode is not reused.
            let _old = std::fs::File::open(self.out());
            build(&self.directory.path().join("agent"), &kernel, &self.out()).unwrap();
            self.out().metadata().unwrap().ino()
        }
    }

    #[test]
    fn an_image_is_rebuilt_only_if_an_input_changed() {
        let place = Fixture::new();
        let first = place.build();
        let bytes = std::fs::read(place.out()).unwrap();
        assert_eq!(place.build(), first);

        place.set_agent("two");
        let second = place.build();
        assert_ne!(second, first, "another agent");

        std::fs::write(
            place.modules.path().join("kernel/drivers/sd_mod.ko"),
            module("longer"),
        )
        .unwrap();
        let third = place.build();
        assert_ne!(third, second, "another module");

        std::fs::write(place.out(), &bytes[..bytes.len() / 2]).unwrap();
        let fourth = place.build();
        assert!(
            place.out().metadata().unwrap().len() > bytes.len() as u64 / 2,
            "a truncated image"
        );

        std::fs::remove_file(built_file::note_path(&place.out())).unwrap();
        assert_ne!(place.build(), fourth, "an image of unknown origin");
    }

    #[test]
    fn modules_are_packed_without_signatures() {
        let place = Fixture::new();
        let mut signed = module("signed");
        signed.extend([&[0; 11][..], &[4], b"~Module signature appended~\n"].concat());
        let path = place.modules.path().join("kernel/drivers/sd_mod.ko");
        std::fs::write(path, signed).unwrap();
        place.build();
        let image = std::fs::read(place.out()).unwrap();
        assert!(!image.windows(7).any(|part| part == b"~Module"));
    }

    #[test]
    fn builds_are_reproducible() {
        let (one, other) = (Fixture::new(), Fixture::new());
        one.build();
        other.build();
        assert_eq!(
            std::fs::read(one.out()).unwrap(),
            std::fs::read(other.out()).unwrap()
        );
    }

    #[test]
    fn an_agent_must_be_a_static_x86_64_executable() {
        // This test binary is dynamically linked.
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(
            check_agent(&this),
            Err("is not static, but the image contains no libraries")
        );
        assert_eq!(check_agent(b"#!/bin/sh"), Err("is not a 64-bit executable"));
        let mut foreign = module("");
        foreign[18] = 183;
        assert_eq!(check_agent(&foreign), Err("is not for x86-64"));
        assert_eq!(check_agent(&module("")), Ok(()));
    }
}
