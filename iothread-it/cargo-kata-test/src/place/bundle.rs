//! What a test binary needs in a guest, as a cpio archive on a raw disk.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use kata_test_runner::{Binary, is_target, target_folder_of};

use super::libraries::{LibraryError, SharedLibraries};
use guest_vm::cpio::Archive;

/// The maximum size of a package's folder, in bytes.
const MAX_PACKAGE_BYTES: u64 = 64 << 20;

/// An error of creating a test bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The shared libraries cannot be found.
    #[error(transparent)]
    Libraries(#[from] LibraryError),
    /// A file cannot be read.
    #[error("cannot pack {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A path is not UTF-8, or has `..` in it.
    #[error("cannot pack {}: the path must be UTF-8 and without `..`", .0.display())]
    BadPath(PathBuf),
    /// The package's folder is too large.
    #[error(
        "{} has more than {} MiB of files beside build outputs and hidden folders, too much to copy \
         into a guest: move the package to a folder of its own",
        .0.display(),
        MAX_PACKAGE_BYTES >> 20
    )]
    TooLarge(PathBuf),
}

/// A test binary with the files that it needs.
pub(super) struct TestBundle {
    /// The cpio archive, padded to whole sectors.
    pub(super) bytes: Vec<u8>,
    /// The folders for `LD_LIBRARY_PATH`.
    pub(super) library_folders: BTreeSet<PathBuf>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    move |source| BundleError::Io {
        path: path.into(),
        source,
    }
}

impl TestBundle {
    /// Packs a binary. Every file keeps its path.
    pub(super) fn pack(binary: &Binary) -> Result<Self, BundleError> {
        let mut builder = BundleBuilder::default();
        builder.folder(&binary.folder)?;
        let search = search_path(binary);
        let mut libraries = SharedLibraries::default();
        for executable in std::iter::once(&binary.executable).chain(&binary.programs) {
            libraries.add(executable, &search)?;
            builder.file(executable)?;
        }
        for file in &libraries.files {
            builder.file(file)?;
        }
        builder.target_folder(&binary.executable)?;
        let mut bytes = builder.archive.to_bytes();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        Ok(Self {
            bytes,
            library_folders: libraries.folders,
        })
    }
}

/// Returns the folders in the binary's `LD_LIBRARY_PATH`, or else in this process's.
fn search_path(binary: &Binary) -> Vec<PathBuf> {
    const NAME: &str = "LD_LIBRARY_PATH";
    let own = binary.env.iter().find(|(name, _)| name == NAME);
    let path = own
        .map(|(_, value)| value.clone())
        .or_else(|| std::env::var_os(NAME));
    std::env::split_paths(&path.unwrap_or_default())
        .filter(|folder| folder.is_absolute())
        .collect()
}

#[derive(Default)]
struct BundleBuilder {
    archive: Archive,
    folder_bytes: u64,
}

impl BundleBuilder {
    fn file(&mut self, path: &Path) -> Result<(), BundleError> {
        let mode = path.metadata().map_err(at(path))?.permissions().mode() & 0o7777;
        let content = fs::read(path).map_err(at(path))?;
        // Readable for all: the guest has other users than the host.
        self.archive.file_below(&name(path)?, mode | 0o444, content);
        Ok(())
    }

    /// Packs the files below a folder, without hidden folders and target directories.
    fn folder(&mut self, folder: &Path) -> Result<(), BundleError> {
        self.archive.directory_below(&name(folder)?);
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let entry = entry.map_err(at(folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(at(&path))?;
            if kind.is_dir() {
                let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if !is_hidden && !is_target(&path) {
                    self.folder(&path)?;
                }
            } else if kind.is_symlink() {
                let to = fs::read_link(&path).map_err(at(&path))?;
                let to = to
                    .to_str()
                    .ok_or_else(|| BundleError::BadPath(to.clone()))?;
                self.archive.link(&name(&path)?, to);
            } else if kind.is_file() {
                self.folder_bytes += entry.metadata().map_err(at(&path))?.len();
                if self.folder_bytes > MAX_PACKAGE_BYTES {
                    return Err(BundleError::TooLarge(folder.into()));
                }
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// Packs the empty folder of `CARGO_TARGET_TMPDIR`.
    fn target_folder(&mut self, executable: &Path) -> Result<(), BundleError> {
        if let Some(target) = target_folder_of(executable) {
            self.archive.directory_below(&name(&target.join("tmp"))?);
        }
        Ok(())
    }
}

/// Converts a path to a name in the archive.
fn name(path: &Path) -> Result<String, BundleError> {
    let text = path
        .to_str()
        .map(|text| text.trim_start_matches('/').to_owned());
    let is_plain = |text: &String| Path::new(text).iter().all(|part| part != OsStr::new(".."));
    text.filter(is_plain)
        .ok_or_else(|| BundleError::BadPath(path.into()))
}

#[cfg(test)]
mod tests {
    //! **Scope**: which files are packed; `tests/places` runs them in guests.

    use super::*;

    #[test]
    fn a_package_is_packed_without_build_outputs_and_hidden_folders() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("Cargo.toml", "manifest"),
            ("tests/data/one.txt", "data"),
            (".git/config", "hidden"),
            ("target/CACHEDIR.TAG", "tag"),
            ("target/debug/large", "built"),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut builder = BundleBuilder::default();
        builder.folder(folder.path()).unwrap();
        let bytes = builder.archive.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let packed = |file: &str| {
            let name = name(&folder.path().join(file)).unwrap();
            text.contains(&format!("{name}\0"))
        };
        assert!(packed("Cargo.toml") && packed("tests/data/one.txt"));
        assert!(!packed(".git") && !packed("target"));
    }

    #[test]
    fn a_path_with_parent_components_is_refused() {
        assert_eq!(name(Path::new("/a/b")).unwrap(), "a/b");
        assert!(matches!(
            name(Path::new("/a/../b")),
            Err(BundleError::BadPath(_))
        ));
    }
}
