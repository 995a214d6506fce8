//! The files that an executable needs to be started: its loader, and the libraries that the loader
//! would take, found where it would find them.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH};
use object::read::elf::{ElfFile64, ProgramHeader};

/// Where every loader looks in the end.
const DEFAULT: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// Where distributions name further folders.
const CONFIGURATION: &str = "/etc/ld.so.conf.d";

/// Why it is not known what an executable needs.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// A file is out of reach.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is no executable that can be understood.
    #[error("{} is no 64-bit ELF file", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is odd about it.
        source: object::Error,
    },
    /// A library is nowhere.
    #[error("{} needs {library}, which is in none of the folders that a loader looks in", path.display())]
    Missing {
        /// Who needs it.
        path: PathBuf,
        /// Its name.
        library: String,
    },
}

/// The files that an executable needs beside itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Closure {
    /// Loader and libraries, by the paths at which they were found.
    pub(super) files: BTreeSet<PathBuf>,
    /// The folders of the libraries, for a loader that has no cache of them.
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Closure {
    /// Adds what an executable needs. `first` are the folders of `LD_LIBRARY_PATH`.
    pub(super) fn add(&mut self, executable: &Path, first: &[PathBuf]) -> Result<(), ClosureError> {
        let further = configured();
        let mut open = VecDeque::from([executable.to_owned()]);
        while let Some(path) = open.pop_front() {
            let needs = Needs::of(&path)?;
            if let Some(loader) = needs.loader {
                self.files.insert(loader);
            }
            for library in needs.libraries {
                let own = needs.own_folders.iter().filter(|_| !needs.own_last);
                let own_last = needs.own_folders.iter().filter(|_| needs.own_last);
                let default = DEFAULT.iter().map(Path::new);
                let mut folders = own
                    .chain(first)
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
                let found = found.ok_or_else(|| ClosureError::Missing {
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

/// What one file says that it needs.
struct Needs {
    loader: Option<PathBuf>,
    libraries: Vec<String>,
    own_folders: Vec<PathBuf>,
    /// `DT_RUNPATH` comes after `LD_LIBRARY_PATH`, and the older `DT_RPATH` before.
    own_last: bool,
}

impl Needs {
    fn of(path: &Path) -> Result<Self, ClosureError> {
        let bytes = fs::read(path).map_err(|source| ClosureError::Io {
            path: path.into(),
            source,
        })?;
        Self::read(&bytes, path).map_err(|source| ClosureError::Elf {
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

/// The folders that the host's configuration of its loader names.
fn configured() -> Vec<PathBuf> {
    let files = fs::read_dir(CONFIGURATION).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let folders = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with('/'));
    folders.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    //! **Scope**: this host's own files; that they suffice is shown by guests that start them.

    use super::*;

    #[test]
    fn this_test_needs_its_loader_and_its_libraries() {
        let mut closure = Closure::default();
        closure.add(&std::env::current_exe().unwrap(), &[]).unwrap();
        let named = |start: &str| {
            let name = |file: &PathBuf| {
                file.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(start)
            };
            closure.files.iter().any(name)
        };
        assert!(named("ld-linux") && named("libc.so"), "{closure:?}");
        assert!(closure.files.iter().all(|file| file.is_file()));
    }

    #[test]
    fn what_is_no_executable_is_an_error() {
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), "#!/bin/sh\n").unwrap();
        let error = Closure::default().add(script.path(), &[]).unwrap_err();
        assert!(matches!(error, ClosureError::Elf { .. }), "{error}");
    }
}
