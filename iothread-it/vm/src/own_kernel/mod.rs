//! Kernels of the user's own, from files instead of the distribution's archive.
//!
//! | what is named | the kernel | its modules |
//! |---|---|---|
//! | a file | the file: a bzImage, or a vmlinux | the folder that is named for them, if one is |
//! | a folder that a kernel was built in | its `arch/x86/boot/bzImage` | those built there, if none are named |
//! | a package (`.deb`) | its `boot/vmlinuz-…` | its own, or those of a second package |
//!
//! Before anything boots, `options` are checked, if the kernel's configuration is known.

mod configuration;
mod error;
mod files;
mod image;
pub mod options;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::artifacts::{KernelInstall, Origin, StoreLock, hex};
use crate::guest::image::Tree;
use configuration::Configuration;
pub use error::OwnKernelError;
use files::KernelFiles;
pub use image::NotAKernel;

/// A kernel of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKernel {
    /// The file, folder or package.
    pub kernel: PathBuf,
    /// The folder or package with its modules.
    pub modules: Option<PathBuf>,
}

impl OwnKernel {
    /// Finds the kernel and its modules, and checks that a guest can run with them.
    ///
    /// # Errors
    /// If a file cannot be read or is another, or if the kernel lacks what a guest needs.
    pub fn install(&self, lock: &StoreLock) -> Result<KernelInstall, OwnKernelError> {
        let KernelFiles { image, modules } = files::find(self, lock)?;
        let bytes = files::read(&image)?;
        let parsed = image::parse(&bytes);
        let kernel = parsed.map_err(|problem| OwnKernelError::NotAKernel {
            path: image.clone(),
            problem,
        })?;
        let modules = modules.map(|folder| files::of_release(&folder, &kernel.release));
        let tree = modules.as_deref().map(Tree::read).transpose()?;
        if let (Some(tree), Some(folder)) = (&tree, &modules) {
            self.check_release(tree, folder, &kernel.release)?;
        }
        let config = Configuration::find(&kernel, &image, modules.as_deref())?;
        if let Some(config) = &config {
            let lacks = options::lacking(config, &|module| {
                tree.as_ref().is_some_and(|tree| tree.has(module))
            });
            if !lacks.is_empty() {
                return Err(OwnKernelError::Lacks {
                    kernel: self.kernel.clone(),
                    lacks,
                    config: config.source.clone(),
                });
            }
        }
        Ok(KernelInstall {
            origin: Origin::Files {
                kernel: self.kernel.clone(),
                sha256: digest(&bytes, modules.as_deref(), tree.as_ref())?,
                config: config.map(|config| config.source),
            },
            release: kernel.release,
            image,
            modules,
        })
    }

    fn check_release(
        &self,
        tree: &Tree,
        folder: &Path,
        release: &str,
    ) -> Result<(), OwnKernelError> {
        match tree.release()? {
            Some(other) if other != release => Err(OwnKernelError::OtherRelease {
                kernel: self.kernel.clone(),
                release: release.to_owned(),
                modules: folder.to_owned(),
                other,
            }),
            _ => Ok(()),
        }
    }
}

/// Hashes a kernel, and the names and contents of its modules.
fn digest(
    image: &[u8],
    modules: Option<&Path>,
    tree: Option<&Tree>,
) -> Result<String, OwnKernelError> {
    let mut hasher = Sha256::new();
    hasher.update(Sha256::digest(image));
    for path in tree.iter().flat_map(|tree| tree.files()) {
        let inside = modules.and_then(|folder| path.strip_prefix(folder).ok());
        let name = inside.unwrap_or(path).as_os_str().as_encoded_bytes();
        hasher.update(Sha256::digest(name));
        hasher.update(Sha256::digest(files::read(path)?));
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests;
