//! The files that a test binary needs in a guest, as disk images with a file system.
//!
//! Two disks bring them: the folder of the binary's package, and the binary itself with its shared
//! libraries and the programs of its package. The guest mounts both, and reads only what its tests read.
//! The image of a package's folder is kept until a file in it changes.

mod cache;
mod erofs;
mod files;
mod folder;

use std::io;
use std::path::{Path, PathBuf};

use super::libraries::LibraryError;

pub(super) use cache::package;
pub(super) use erofs::Owner;
pub(super) use files::BinaryFiles;

/// An error of creating an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The shared libraries cannot be found.
    #[error(transparent)]
    Libraries(#[from] LibraryError),
    /// A file cannot be read or written.
    #[error("cannot pack {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A path that the guest has to know is not UTF-8, or has `..` in it.
    #[error("cannot pack {}: the path must be UTF-8 and without `..`", .0.display())]
    BadPath(PathBuf),
    /// The package's folder is too large.
    #[error(
        "{} has more than {} GiB or {} files beside `.git` and target directories, too much for a \
         guest: exclude what the tests do not read by `[package-files]` in the configuration",
        .0.display(),
        folder::MAX_BYTES >> 30,
        folder::MAX_FILES
    )]
    TooLarge(PathBuf),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    move |source| ImageError::Io {
        path: path.into(),
        source,
    }
}

/// Checks that the guest can be told a path, and returns its parts.
fn parts(path: &Path) -> Result<Vec<&str>, ImageError> {
    let bad = || ImageError::BadPath(path.into());
    let text = path.to_str().ok_or_else(bad)?;
    let parts: Vec<_> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    match parts.contains(&"..") {
        true => Err(bad()),
        false => Ok(parts),
    }
}

#[cfg(test)]
mod tests;
