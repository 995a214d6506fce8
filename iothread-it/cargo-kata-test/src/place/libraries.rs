//! The shared libraries of an executable, and its loader, found as the dynamic loader of glibc finds
//! them (ld.so(8)): `DT_RPATH`, `LD_LIBRARY_PATH`, `DT_RUNPATH`, the configured folders, the defaults.
//!
//! The crate `lddtree` searches `DT_RUNPATH` before `LD_LIBRARY_PATH`, reads that variable from its own
//! process only, and panics at paths that are not UTF-8.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH};
use object::read::elf::{ElfFile64, ProgramHeader};

/// The folders that the loader searches last.
const DEFAULT_FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// The loader's configuration files, each with a folder a line.
const CONFIGURATION: &str = "/etc/ld.so.conf.d";

/// An error of finding an executable's shared libraries.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is not a 64-bit ELF file.
    #[error("{} is not a 64-bit ELF file", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: object::Error,
    },
    /// A library cannot be found.
    #[error("cannot find {library}, which {} needs, in the loader's folders", path.display())]
    Missing {
        /// The file that needs it.
        path: PathBuf,
        /// The library's name.
        library: String,
    },
}

/// The shared libraries of executables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SharedLibraries {
    /// The paths of the loader and of the libraries.
    pub(super) files: BTreeSet<PathBuf>,
    /// The folders of the libraries: the guest has no cache for its loader.
    pub(super) folders: BTreeSet<PathBuf>,
}

impl SharedLibraries {
    /// Adds the libraries of an executable. `library_path` are the folders of `LD_LIBRARY_PATH`.
    pub(super) fn add(
        &mut self,
        executable: &Path,
        library_path: &[PathBuf],
    ) -> Result<(), LibraryError> {
        let further = configured();
        let mut open = VecDeque::from([executable.to_owned()]);
        while let Some(path) = open.pop_front() {
            let needs = Dynamic::of(&path)?;
            if let Some(loader) = needs.loader {
                self.files.insert(loader);
            }
            for library in needs.libraries {
                let own = needs.own_folders.iter().filter(|_| !needs.own_last);
                let own_last = needs.own_folders.iter().filter(|_| needs.own_last);
                let default = DEFAULT_FOLDERS.iter().map(Path::new);
                let mut folders = own
                    .chain(library_path)
                    .chain(own_last)
                    .chain(&further)
                    .map(PathBuf::as_path)
                    .chain(default);
                let found = if library.contains('/') {
                    Some(PathBuf::from(&library))
                } else {
                    folders.find_map(|folder| {
                        let file = folder.join(&library);
                        file.is_file().then_some(file)
                    })
                };
                let found = found.ok_or_else(|| LibraryError::Missing {
                    path: path.clone(),
                    library: library.clone(),
                })?;
                self.folders.extend(found.parent().map(Path::to_owned));
                if self.files.insert(found.clone()) {
                    open.push_back(found);
                }
            }
        }
        Ok(())
    }
}

/// The dynamic section of a file.
struct Dynamic {
    loader: Option<PathBuf>,
    libraries: Vec<String>,
    own_folders: Vec<PathBuf>,
    /// Whether these are searched after `LD_LIBRARY_PATH`, as `DT_RUNPATH` is, and not before.
    own_last: bool,
}

impl Dynamic {
    fn of(path: &Path) -> Result<Self, LibraryError> {
        let bytes = fs::read(path).map_err(|source| LibraryError::Io {
            path: path.into(),
            source,
        })?;
        Self::read(&bytes, path).map_err(|source| LibraryError::Elf {
            path: path.into(),
            source,
        })
    }

    fn read(bytes: &[u8], path: &Path) -> Result<Self, object::Error> {
        let file: ElfFile64<'_> = ElfFile64::parse(bytes)?;
        let mut needs = Self {
            loader: None,
            libraries: Vec::new(),
            own_folders: Vec::new(),
            own_last: true,
        };
        for segment in file.elf_program_headers() {
            if let Some(loader) = segment.interpreter(file.endian(), bytes)? {
                needs.loader = Some(String::from_utf8_lossy(loader).into_owned().into());
            }
        }
        let table = file.elf_dynamic_table()?;
        let mut own = None;
        for entry in &table {
            let text = || {
                Ok::<_, object::Error>(String::from_utf8_lossy(table.string(entry)?).into_owned())
            };
            match entry.tag {
                DT_NEEDED => needs.libraries.push(text()?),
                DT_RUNPATH => (needs.own_last, own) = (true, Some(text()?)),
                DT_RPATH if own.is_none() => (needs.own_last, own) = (false, Some(text()?)),
                _ => {}
            }
        }
        let origin = path
            .parent()
            .unwrap_or(Path::new("/"))
            .to_string_lossy()
            .into_owned();
        for folder in own.iter().flat_map(|folders| folders.split(':')) {
            let folder = folder
                .replace("${ORIGIN}", &origin)
                .replace("$ORIGIN", &origin);
            needs.own_folders.push(folder.into());
        }
        Ok(needs)
    }
}

/// Returns the folders in the loader's configuration files.
fn configured() -> Vec<PathBuf> {
    let files = fs::read_dir(CONFIGURATION).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    let texts = files.iter().map(fs::read_to_string);
    let texts: Vec<String> = texts.filter_map(Result::ok).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    let folders = lines.filter(|line| line.starts_with('/'));
    folders.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    //! **Scope**: files of this host; `tests/places` starts programs with these libraries in guests.

    use super::*;

    #[test]
    fn loader_and_libraries_of_this_executable_are_found() {
        let mut libraries = SharedLibraries::default();
        libraries
            .add(&std::env::current_exe().unwrap(), &[])
            .unwrap();
        let named = |start: &str| {
            let name = |file: &PathBuf| {
                file.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(start)
            };
            libraries.files.iter().any(name)
        };
        assert!(named("ld-linux") && named("libc.so"), "{libraries:?}");
        assert!(libraries.files.iter().all(|file| file.is_file()));
    }

    #[test]
    fn a_file_that_is_not_elf_is_an_error() {
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), "#!/bin/sh\n").unwrap();
        let error = SharedLibraries::default()
            .add(script.path(), &[])
            .unwrap_err();
        assert!(matches!(error, LibraryError::Elf { .. }), "{error}");
    }
}
