//! Finds the guest's kernel: its image and its modules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::apt::AptError;
use super::manifest::Origin;

/// Module directories in packages. Newer ones use `usr`.
const MODULE_DIRECTORIES: [&str; 2] = ["usr/lib/modules", "lib/modules"];

/// A kernel with its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInstall {
    /// The image (`vmlinuz`).
    pub image: PathBuf,
    /// The release, as `uname -r` prints it.
    pub release: String,
    /// The module directory: `…/lib/modules/RELEASE`, or the folder that a kernel was built in. `None` if
    /// everything is built in.
    pub modules: Option<PathBuf>,
    /// Its source.
    pub origin: Origin,
}

impl KernelInstall {
    /// Finds the kernel below a root directory.
    pub(crate) fn below(root: &Path, origin: Origin) -> Option<Self> {
        let directories = MODULE_DIRECTORIES.iter().map(|place| root.join(place));
        let entries = directories
            .filter_map(|path| std::fs::read_dir(path).ok())
            .flatten()
            .flatten();
        // Sorted, so that the result is the same if there are several.
        let releases: BTreeSet<_> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        releases
            .iter()
            .find_map(|release| Self::of(root, release, origin.clone()))
    }

    /// Finds a kernel of a known release.
    fn of(root: &Path, release: &str, origin: Origin) -> Option<Self> {
        let modules = MODULE_DIRECTORIES.map(|place| root.join(place).join(release));
        let modules = modules
            .into_iter()
            .find(|path| path.join("modules.builtin").is_file())?;
        // Newer packages copy the image to `/boot` only during installation.
        let images = [
            root.join("boot").join(format!("vmlinuz-{release}")),
            modules.join("vmlinuz"),
        ];
        // On some distributions only root can read the image.
        let image = images
            .into_iter()
            .find(|image| std::fs::File::open(image).is_ok())?;
        Some(Self {
            image,
            release: release.to_owned(),
            modules: Some(modules),
            origin,
        })
    }

    /// Finds the running kernel of the host if its files can be read.
    pub(crate) fn of_host() -> Option<Self> {
        Self::of(Path::new("/"), &running_release()?, Origin::Host)
    }
}

fn running_release() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.trim().to_owned())
}

/// Returns the path of the running kernel's image, for messages.
pub(crate) fn host_image_name() -> String {
    format!(
        "/boot/vmlinuz-{}",
        running_release().as_deref().unwrap_or("RELEASE")
    )
}

/// Checks that the unpacked packages contain a kernel, and returns its release.
pub(crate) fn check(root: &Path) -> Result<String, AptError> {
    let kernel = KernelInstall::below(root, Origin::Host);
    let suite = "this release".to_owned();
    kernel
        .map(|kernel| kernel.release)
        .ok_or(AptError::NoKernel { suite })
}

#[cfg(test)]
mod tests {
    //! **Scope**: the search for files. The suite boots the kernel.

    use super::*;

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn both_module_directories_are_searched() {
        for modules in ["lib/modules", "usr/lib/modules"] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), "boot/vmlinuz-6.1.0");
            put(root.path(), &format!("{modules}/6.1.0/modules.builtin"));
            let kernel = KernelInstall::below(root.path(), Origin::Host).unwrap();
            assert_eq!(kernel.release, "6.1.0");
            assert_eq!(
                kernel.modules,
                Some(root.path().join(modules).join("6.1.0"))
            );
        }
    }

    #[test]
    fn an_image_beside_its_modules_is_found_and_modules_are_required() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "lib/modules/6.1.0/vmlinuz");
        assert_eq!(KernelInstall::of(root.path(), "6.1.0", Origin::Host), None);
        put(root.path(), "lib/modules/6.1.0/modules.builtin");
        assert!(KernelInstall::of(root.path(), "6.1.0", Origin::Host).is_some());
        assert!(KernelInstall::below(root.path(), Origin::Host).is_some());
    }
}
