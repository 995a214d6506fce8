//! Copies QEMU and a guest into one folder, to be taken to another machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::file_error::{FileError, cannot, unless_absent};
use super::held::USED_FILE;
use super::manifest::{GuestImage, Manifest, ManifestError, QemuInstall};

/// Name of the copies' manifest.
const MANIFEST: &str = "artifacts.json";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// QEMU is the host's.
    #[error(
        "{} belongs to this host and has files in many places; choose the QEMU of a package, such as \
         `--qemu suite:bookworm`",
        .0.display()
    )]
    NotOfPackages(PathBuf),
    /// A file cannot be copied.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The manifest cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Manifest {
    /// Copies the files into `folder`, or links them if that is possible. Returns the path of the manifest
    /// of the copies, which leaves out the guest with tools. If the folder has this copy already, nothing is
    /// done.
    ///
    /// # Errors
    /// If QEMU is not from packages, or a file cannot be copied.
    pub fn copy_to(&self, folder: &Path) -> Result<PathBuf, CopyError> {
        let program = &self.qemu.program;
        let entry = program
            .ancestors()
            .find(|folder| folder.join(USED_FILE).is_file());
        let entry = entry.ok_or_else(|| CopyError::NotOfPackages(program.clone()))?;
        let copy = self.relocated(entry, folder);
        let manifest = folder.join(MANIFEST);
        if Self::read(&manifest).is_ok_and(|present| present == copy) {
            return Ok(manifest);
        }
        unless_absent(fs::remove_dir_all(folder)).map_err(cannot("copy", folder))?;
        let qemu = folder.join("qemu");
        tree(&entry.join("root"), &qemu.join("root"))?;
        let guest = [
            (&self.guest.kernel, &copy.guest.kernel),
            (&self.guest.initramfs, &copy.guest.initramfs),
        ];
        let vmlinux = self.guest.vmlinux.iter().zip(&copy.guest.vmlinux);
        for (from, to) in guest.into_iter().chain(vmlinux) {
            file(from, to)?;
        }
        // Last: a copy without it is incomplete.
        copy.write(&manifest)?;
        Ok(manifest)
    }

    /// Replaces the paths of QEMU below `entry` and those of the guest by paths below `folder`.
    fn relocated(&self, entry: &Path, folder: &Path) -> Self {
        let (old, new) = (shown(entry), shown(&folder.join("qemu")));
        let moved = |text: &String| text.replace(&old, &new);
        let env = self.qemu.env.iter();
        let guest = &self.guest;
        Self {
            qemu: QemuInstall {
                program: moved(&shown(&self.qemu.program)).into(),
                prefix_args: self.qemu.prefix_args.iter().map(moved).collect(),
                env: env
                    .map(|(name, value)| (name.clone(), moved(value)))
                    .collect(),
                ..self.qemu.clone()
            },
            guest: GuestImage {
                kernel: folder.join("vmlinuz"),
                vmlinux: guest.vmlinux.as_ref().map(|_| folder.join("vmlinux")),
                initramfs: folder.join("initramfs"),
                ..guest.clone()
            },
            guest_with_tools: None,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Copies a folder with its files and symbolic links.
fn tree(from: &Path, to: &Path) -> Result<(), CopyError> {
    fs::create_dir_all(to).map_err(cannot("copy", to))?;
    for entry in fs::read_dir(from).map_err(cannot("copy", from))? {
        let entry = entry.map_err(cannot("copy", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(cannot("copy", &from))?;
        if kind.is_dir() {
            tree(&from, &to)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(cannot("copy", &from))?;
            std::os::unix::fs::symlink(target, &to).map_err(cannot("copy", &to))?;
        } else {
            file(&from, &to)?;
        }
    }
    Ok(())
}

/// Links a file, or copies it to another file system.
fn file(from: &Path, to: &Path) -> Result<(), CopyError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map_err(cannot("copy", from))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    //! **Scope**: made-up files. `cargo xtask it --nested` starts a copied QEMU.

    use std::collections::BTreeMap;

    use super::*;
    use crate::artifacts::Origin;

    /// A manifest of files with their names as contents.
    fn original(folder: &Path) -> Manifest {
        let file = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            path
        };
        let program = file("entry/root/lib/loader");
        let libraries = format!("{0}:{0}/more", folder.join("entry/root/lib").display());
        std::os::unix::fs::symlink("loader", folder.join("entry/root/lib/link")).unwrap();
        Manifest {
            qemu: QemuInstall {
                program,
                prefix_args: vec!["--library-path".into(), libraries.clone()],
                env: BTreeMap::from([("MODULES".into(), libraries)]),
                version: "7.2.22".into(),
                origin: Origin::Host,
            },
            guest: GuestImage {
                kernel: file("kernel"),
                vmlinux: Some(file("uncompressed")),
                kernel_release: "6.1".into(),
                initramfs: file("initramfs"),
                agent_sha256: "00".into(),
                origin: Origin::Host,
            },
            guest_with_tools: None,
        }
    }

    #[test]
    fn the_copy_has_all_files_and_none_of_the_old_paths() {
        let place = tempfile::tempdir().unwrap();
        let manifest = original(place.path());
        fs::write(place.path().join("entry/used"), "").unwrap();
        let folder = place.path().join("copy");
        let path = manifest.copy_to(&folder).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("entry/root"), "{text}");
        let copy = Manifest::read(&path).unwrap();
        for (file, content) in [
            (&copy.qemu.program, "entry/root/lib/loader"),
            (&copy.guest.kernel, "kernel"),
            (copy.guest.vmlinux.as_ref().unwrap(), "uncompressed"),
            (&copy.guest.initramfs, "initramfs"),
        ] {
            assert!(file.starts_with(&folder), "{}", file.display());
            assert_eq!(fs::read_to_string(file).unwrap(), content);
        }
        let library = Path::new(copy.qemu.prefix_args[1].split(':').next().unwrap());
        assert_eq!(
            fs::read_link(library.join("link")).unwrap(),
            Path::new("loader")
        );

        let mark = folder.join("mark");
        fs::write(&mark, "").unwrap();
        manifest.copy_to(&folder).unwrap();
        assert!(mark.exists(), "the same copy is kept");
        let newer = Manifest {
            guest: GuestImage {
                kernel_release: "6.12".into(),
                ..manifest.guest.clone()
            },
            ..manifest
        };
        newer.copy_to(&folder).unwrap();
        assert!(!mark.exists(), "another one is replaced");
    }

    #[test]
    fn a_qemu_of_the_host_is_not_copied() {
        let place = tempfile::tempdir().unwrap();
        let error = original(place.path()).copy_to(&place.path().join("copy"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("--qemu suite:bookworm"), "{error}");
    }
}
