//! What a test binary needs in a guest, as an archive on a raw disk.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use kata_test_runner::{Binary, is_target, target_folder_of};

use super::closure::{Closure, ClosureError};
use guest_vm::cpio::Archive;

/// How much of a package's folder goes along, in bytes. More is hardly sources.
const FOLDER_LIMIT: u64 = 64 << 20;

/// Why a binary cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// Its libraries are not known.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// A file is out of reach.
    #[error("{} cannot be packed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A path is no text.
    #[error("{} is no text, which a path in an archive has to be", .0.display())]
    NoText(PathBuf),
    /// The package's folder is too large.
    #[error(
        "the folder {} holds more than {} MiB beside build outputs and hidden folders, and a guest \
         gets a copy of it: move the package into a folder of its own",
        .0.display(),
        FOLDER_LIMIT >> 20
    )]
    TooLarge(PathBuf),
}

/// The archive, and how programs in it find their libraries.
pub(super) struct Parcel {
    pub(super) bytes: Vec<u8>,
    /// For `LD_LIBRARY_PATH`.
    pub(super) library_folders: BTreeSet<PathBuf>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ParcelError {
    move |source| ParcelError::Io {
        path: path.into(),
        source,
    }
}

impl Parcel {
    /// Packs a binary. Every file keeps the path that it has here.
    pub(super) fn pack(binary: &Binary) -> Result<Self, ParcelError> {
        let mut packing = Packing::default();
        packing.folder(&binary.folder)?;
        let search = search_path(binary);
        let mut closure = Closure::default();
        for executable in std::iter::once(&binary.executable).chain(&binary.programs) {
            closure.add(executable, &search)?;
            packing.file(executable)?;
        }
        for file in &closure.files {
            packing.file(file)?;
        }
        packing.target_folder(&binary.executable)?;
        let mut bytes = packing.archive.to_bytes();
        // A disk has whole sectors.
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        Ok(Self {
            bytes,
            library_folders: closure.folders,
        })
    }
}

/// The folders of the binary's `LD_LIBRARY_PATH`, or of this process's.
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
struct Packing {
    archive: Archive,
    folder_bytes: u64,
}

impl Packing {
    fn file(&mut self, path: &Path) -> Result<(), ParcelError> {
        let mode = path.metadata().map_err(at(path))?.permissions().mode() & 0o7777;
        let content = fs::read(path).map_err(at(path))?;
        // Whoever could not read it here is not the test: a guest's users are others.
        self.archive.file_below(&name(path)?, mode | 0o444, content);
        Ok(())
    }

    /// Packs the files below a folder, without hidden folders and without what cargo has built.
    fn folder(&mut self, folder: &Path) -> Result<(), ParcelError> {
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
                let to = to.to_str().ok_or_else(|| ParcelError::NoText(to.clone()))?;
                self.archive.link(&name(&path)?, to);
            } else if kind.is_file() {
                self.folder_bytes += entry.metadata().map_err(at(&path))?.len();
                if self.folder_bytes > FOLDER_LIMIT {
                    return Err(ParcelError::TooLarge(folder.into()));
                }
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// Cargo promises integration tests a folder for their files.
    fn target_folder(&mut self, executable: &Path) -> Result<(), ParcelError> {
        if let Some(target) = target_folder_of(executable) {
            self.archive.directory_below(&name(&target.join("tmp"))?);
        }
        Ok(())
    }
}

/// A path as a name in the archive.
fn name(path: &Path) -> Result<String, ParcelError> {
    let text = path
        .to_str()
        .map(|text| text.trim_start_matches('/').to_owned());
    let is_plain = |text: &String| Path::new(text).iter().all(|part| part != OsStr::new(".."));
    text.filter(is_plain)
        .ok_or_else(|| ParcelError::NoText(path.into()))
}

#[cfg(test)]
mod tests {
    //! **Scope**: what is packed; that it runs is shown by guests.

    use super::*;

    #[test]
    fn a_packages_files_go_along_and_build_outputs_stay() {
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
        let mut packing = Packing::default();
        packing.folder(folder.path()).unwrap();
        let bytes = packing.archive.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let packed = |file: &str| {
            let name = name(&folder.path().join(file)).unwrap();
            text.contains(&format!("{name}\0"))
        };
        assert!(packed("Cargo.toml") && packed("tests/data/one.txt"));
        assert!(!packed(".git") && !packed("target"));
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_is_refused() {
        assert_eq!(name(Path::new("/a/b")).unwrap(), "a/b");
        assert!(matches!(
            name(Path::new("/a/../b")),
            Err(ParcelError::NoText(_))
        ));
    }
}
