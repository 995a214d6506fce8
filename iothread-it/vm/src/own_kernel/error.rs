//! Why a kernel of the user's own cannot be used.

use std::path::PathBuf;

use super::image::NotAKernel;
use crate::artifacts::{FileError, StoreError};
use crate::guest::image::ModuleError;
use crate::process::CommandError;

/// Why a kernel of the user's own cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnKernelError {
    /// A file or folder cannot be read.
    #[error(transparent)]
    Io(#[from] FileError),
    /// A device, a pipe or the like.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// The file is too large to be what it is taken for.
    #[error(
        "{} is larger than {} MiB; a kernel with debugging information has a smaller \
         arch/x86/boot/bzImage, and `make INSTALL_MOD_STRIP=1 modules_install` writes smaller modules",
        path.display(),
        limit >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The folder has no kernel.
    #[error(
        "{} has no arch/x86/boot/bzImage; name a kernel's file, or the folder in which `make bzImage` \
         has built one",
        .0.display()
    )]
    NoKernelInFolder(PathBuf),
    /// The packages have no kernel.
    #[error("{} has no boot/vmlinuz-…; name a linux-image package", .0.display())]
    NoKernelInPackage(PathBuf),
    /// The modules are a file that is not a package.
    #[error(
        "{} is neither a folder of modules nor a package (.deb); name `lib/modules/VERSION`, as `make \
         modules_install` writes it",
        .0.display()
    )]
    ModulesAreAFile(PathBuf),
    /// The kernel of a file was named with the package of its modules.
    #[error(
        "{} is a package, and {} is not; name a package for both, or the folder of the modules",
        modules.display(),
        kernel.display()
    )]
    OnePackage {
        /// The kernel.
        kernel: PathBuf,
        /// The package of the modules.
        modules: PathBuf,
    },
    /// The package cannot be unpacked.
    #[error("cannot unpack {}", path.display())]
    Unpack {
        /// The package.
        path: PathBuf,
        /// Why.
        source: CommandError,
    },
    /// The file is something else.
    #[error("{} {problem}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it is.
        problem: NotAKernel,
    },
    /// The modules cannot be used.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The modules were built for another kernel.
    #[error(
        "the modules in {} are for Linux {other}, and {} is Linux {release}; name the modules that were built \
         with the kernel",
        modules.display(),
        kernel.display()
    )]
    OtherRelease {
        /// The kernel.
        kernel: PathBuf,
        /// Its release.
        release: String,
        /// The modules.
        modules: PathBuf,
        /// The release that they were built for.
        other: String,
    },
    /// The kernel lacks what a guest needs.
    #[error(
        "a guest cannot run with the kernel {}, by its configuration in {config}: {}",
        kernel.display(),
        lacks.join("; ")
    )]
    Lacks {
        /// The kernel.
        kernel: PathBuf,
        /// Which options, and what to do.
        lacks: Vec<String>,
        /// Where the configuration was read.
        config: String,
    },
    /// The cache cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
