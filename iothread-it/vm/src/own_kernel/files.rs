//! Finds the files of a kernel: the image, and the folder of its modules.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{OwnKernel, OwnKernelError};
use crate::artifacts::{StoreLock, cannot, hex, unpack_package};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// The files of a kernel.
pub(super) struct KernelFiles {
    pub(super) image: PathBuf,
    /// The folder of its modules, or one above.
    pub(super) modules: Option<PathBuf>,
}

/// Finds the files. Packages are unpacked to the cache.
pub(super) fn find(own: &OwnKernel, lock: &StoreLock) -> Result<KernelFiles, OwnKernelError> {
    let OwnKernel { kernel, modules } = own;
    let is_folder = kernel.metadata().map_err(cannot("read", kernel))?.is_dir();
    if is_package(kernel) && !is_folder {
        return of_packages(kernel, modules.as_deref(), lock);
    }
    if let Some(modules) = modules {
        let data = modules.metadata().map_err(cannot("read", modules))?;
        match (data.is_dir(), is_package(modules)) {
            (true, _) => {}
            (false, true) => {
                return Err(OwnKernelError::OnePackage {
                    kernel: kernel.clone(),
                    modules: modules.clone(),
                });
            }
            (false, false) => {
                return Err(OwnKernelError::ModulesAreAFile(modules.clone()));
            }
        }
    }
    if !is_folder {
        return Ok(KernelFiles {
            image: kernel.clone(),
            modules: modules.clone(),
        });
    }
    let image = kernel.join("arch/x86/boot/bzImage");
    if !image.is_file() {
        return Err(OwnKernelError::NoKernelInFolder(kernel.clone()));
    }
    let built = kernel
        .join("modules.order")
        .is_file()
        .then(|| kernel.clone());
    Ok(KernelFiles {
        image,
        modules: modules.clone().or(built),
    })
}

fn is_package(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "deb")
}

/// Returns the folder of a release: the one that is named, or a folder in it.
pub(super) fn of_release(named: &Path, release: &str) -> PathBuf {
    let places = ["", "lib/modules", "usr/lib/modules"];
    let below = places.map(|place| named.join(place).join(release));
    let mut folders = [named.to_owned()].into_iter().chain(below);
    let is_one = |folder: &PathBuf| folder.join("modules.builtin").is_file();
    folders.find(is_one).unwrap_or_else(|| named.to_owned())
}

/// Unpacks the package of a kernel, and that of its modules. What was unpacked before is used as it is.
fn of_packages(
    kernel: &Path,
    modules: Option<&Path>,
    lock: &StoreLock,
) -> Result<KernelFiles, OwnKernelError> {
    let second = modules.filter(|path| is_package(path) && !path.is_dir());
    let packages: Vec<&Path> = [kernel].into_iter().chain(second).collect();
    let mut hasher = Sha256::new();
    for package in &packages {
        hasher.update(Sha256::digest(read(package)?));
    }
    let key = hex(&hasher.finalize()[..8]);
    let entry = lock.store().packages().join(format!("kernel-own-{key}"));
    let root = entry.join("root");
    if !root.is_dir() {
        let staging = lock.staging()?;
        let unpacked = staging.path().join("root");
        fs::create_dir(&unpacked).map_err(cannot("read", &unpacked))?;
        for package in packages {
            let done = unpack_package("dpkg-deb -x", package, &unpacked);
            done.map_err(|source| OwnKernelError::Unpack {
                path: package.into(),
                source,
            })?;
        }
        lock.hold(&entry)?;
        // Last: the entry is complete, or has no such folder.
        fs::rename(&unpacked, &root).map_err(cannot("read", &root))?;
    }
    lock.hold(&entry)?;
    let image =
        image_below(&root).ok_or_else(|| OwnKernelError::NoKernelInPackage(kernel.into()))?;
    let modules = match modules {
        Some(folder) if second.is_none() => Some(folder.to_owned()),
        _ => {
            let folders = ["lib/modules", "usr/lib/modules"];
            let has_modules = folders.iter().any(|folder| root.join(folder).is_dir());
            has_modules.then_some(root)
        }
    };
    Ok(KernelFiles { image, modules })
}

/// Finds the image of a package: `boot/vmlinuz-…`, or with newer ones, `vmlinuz` beside the modules.
fn image_below(root: &Path) -> Option<PathBuf> {
    let children = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).ok();
        let entries = entries.into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz")
    };
    let beside = ["lib/modules", "usr/lib/modules"].map(children);
    let beside = beside
        .into_iter()
        .flatten()
        .map(|path| path.join("vmlinuz"));
    let mut images = children("boot").into_iter().filter(is_image).chain(beside);
    images.find(|path| path.is_file())
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, OwnKernelError> {
    read_within(path, MAX_BYTES)
}

/// Reads a file that is not larger than the limit. Anything but a file might never end.
pub(super) fn read_within(path: &Path, limit: u64) -> Result<Vec<u8>, OwnKernelError> {
    if !path.metadata().map_err(cannot("read", path))?.is_file() {
        return Err(OwnKernelError::NotAFile(path.into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot("read", path))?;
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    match read.map_err(cannot("read", path))? as u64 > limit {
        true => Err(OwnKernelError::TooLarge {
            path: path.into(),
            limit,
        }),
        false => Ok(bytes),
    }
}
