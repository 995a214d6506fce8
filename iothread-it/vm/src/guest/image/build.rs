//! Puts the image together, and leaves one that still fits alone.

use std::path::{Path, PathBuf};

use object::elf::{EM_X86_64, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use sha2::{Digest as _, Sha256};

use super::inputs::{Inputs, Wanted};
use super::modules::{Module, ModuleError, closure};
use super::signature;
use crate::artifacts::{GuestImage, KernelInstall, hex, write_atomically};
use crate::cpio::Archive;

/// What the guest loads: its disks on either bus, and the port that the agent speaks through.
///
/// `virtio_scsi` finds disks, and `sd_mod` makes them block devices.
const MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_scsi",
    "sd_mod",
];

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The agent cannot be read.
    #[error("the agent {} cannot be read", path.display())]
    Agent {
        /// The agent.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The agent would not start in an image that holds nothing else.
    #[error("the agent {} {reason}; build it with `cargo xtask it`", path.display())]
    UnfitAgent {
        /// The agent.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The kernel's modules cannot be used.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The image cannot be written.
    #[error("the boot image {} cannot be written", path.display())]
    Unwritable {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Makes the boot image `out` for a kernel, unless the one that is there was made from the same.
///
/// The image comes into being in one step, so a reader never sees a part of it.
///
/// # Errors
/// If the agent is no static executable, the kernel lacks a module, or the image cannot be written.
pub fn build(agent: &Path, kernel: &KernelInstall, out: &Path) -> Result<GuestImage, ImageError> {
    let program = std::fs::read(agent).map_err(|source| ImageError::Agent {
        path: agent.into(),
        source,
    })?;
    check_agent(&program).map_err(|reason| ImageError::UnfitAgent {
        path: agent.into(),
        reason,
    })?;
    let agent_sha256 = hex(&Sha256::digest(&program));
    let wanted = Wanted {
        agent_sha256: &agent_sha256,
        modules: &kernel.modules,
        names: &MODULES,
    };
    if !is_current(&wanted, out) {
        make(program, &wanted, out)?;
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

/// Says what keeps a file from running as the first process of an empty system.
fn check_agent(program: &[u8]) -> Result<(), &'static str> {
    let file: ElfFile64<'_> = ElfFile64::parse(program).map_err(|_| "is no 64-bit executable")?;
    let header = file.elf_header();
    let endian = file.endian();
    if header.e_machine(endian) != EM_X86_64 {
        return Err("is not for x86-64");
    }
    let mut segments = file.elf_program_headers().iter();
    if segments.any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Err("is not static, and the image holds no libraries");
    }
    Ok(())
}

fn note_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".inputs.json");
    name.into()
}

fn is_current(wanted: &Wanted<'_>, out: &Path) -> bool {
    let note = std::fs::read(note_of(out)).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Inputs>(&text).ok());
    // The whole image is small enough to be hashed each time, so that no damage is booted.
    let image = std::fs::read(out)
        .ok()
        .map(|bytes| hex(&Sha256::digest(bytes)));
    matches!((note, image), (Some(note), Some(image)) if note.fit(wanted, &image))
}

fn make(agent: Vec<u8>, wanted: &Wanted<'_>, out: &Path) -> Result<(), ImageError> {
    let modules = closure(wanted.modules, wanted.names)?;
    let mut read: Vec<_> = modules.iter().map(|module| module.path.clone()).collect();
    read.push(wanted.modules.join("modules.builtin"));
    let image = pack(agent, modules);
    let inputs = Inputs::of(wanted, &read, hex(&Sha256::digest(&image)));
    // The note last: without one that fits, an image does not count.
    let note = serde_json::to_vec_pretty(&inputs).map_err(std::io::Error::from);
    let written = note.and_then(|note| {
        write_atomically(out, &image)?;
        write_atomically(&note_of(out), &note)
    });
    written.map_err(|source| ImageError::Unwritable {
        path: out.into(),
        source,
    })
}

/// Lays the image out; see the table of this folder's module.
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
    //! **Scope**: what is packed and when; that it boots is the suite's to show.

    use std::os::unix::fs::MetadataExt as _;

    use super::super::modules::made_up::{module, tree};
    use super::*;
    use crate::artifacts::Origin;

    struct Place {
        directory: tempfile::TempDir,
        modules: tempfile::TempDir,
    }

    impl Place {
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
            // Nothing in a module asks for a loader, so one passes for a static program.
            place.set_agent("one");
            place
        }

        fn set_agent(&self, text: &str) {
            std::fs::write(self.directory.path().join("agent"), module(text)).unwrap();
        }

        fn out(&self) -> PathBuf {
            self.directory.path().join("images/initramfs")
        }

        /// Builds, and returns which file the image is: a new one has another inode.
        fn build(&self) -> u64 {
            let kernel = KernelInstall {
                image: "vmlinuz".into(),
                release: "6.1".into(),
                modules: self.modules.path().into(),
                origin: Origin::Host,
            };
            // Kept open, so that the old inode cannot be handed out again.
            let _old = std::fs::File::open(self.out());
            build(&self.directory.path().join("agent"), &kernel, &self.out()).unwrap();
            self.out().metadata().unwrap().ino()
        }
    }

    #[test]
    fn an_image_is_made_again_only_if_something_changed() {
        let place = Place::new();
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
            "a cut image"
        );

        std::fs::remove_file(note_of(&place.out())).unwrap();
        assert_ne!(place.build(), fourth, "an image of unknown origin");
    }

    #[test]
    fn signatures_of_modules_stay_behind() {
        let place = Place::new();
        let mut signed = module("signed");
        signed.extend([&[0; 11][..], &[4], b"~Module signature appended~\n"].concat());
        let path = place.modules.path().join("kernel/drivers/sd_mod.ko");
        std::fs::write(path, signed).unwrap();
        place.build();
        let image = std::fs::read(place.out()).unwrap();
        assert!(!image.windows(7).any(|part| part == b"~Module"));
    }

    #[test]
    fn the_same_inputs_give_the_same_bytes() {
        let (one, other) = (Place::new(), Place::new());
        one.build();
        other.build();
        assert_eq!(
            std::fs::read(one.out()).unwrap(),
            std::fs::read(other.out()).unwrap()
        );
    }

    #[test]
    fn only_what_can_run_alone_is_taken_for_an_agent() {
        // This very test needs a loader.
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(
            check_agent(&this),
            Err("is not static, and the image holds no libraries")
        );
        assert_eq!(check_agent(b"#!/bin/sh"), Err("is no 64-bit executable"));
        let mut foreign = module("");
        foreign[18] = 183;
        assert_eq!(check_agent(&foreign), Err("is not for x86-64"));
        assert_eq!(check_agent(&module("")), Ok(()));
    }
}
