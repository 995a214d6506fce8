//! A test binary with its shared libraries, the programs of its package, and those of the host that its tests
//! require, each at its own path.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kata_test_runner::{Binary, host_program, target_folder_of};

use super::super::libraries::SharedLibraries;
use super::erofs::{self, Kind, Node, Owner};
use super::{ImageError, at, parts};

/// Asks for the host's shell: that of the guest's own tools prefers these to programs in `PATH`.
const SHELL: &str = "command sh";

/// The files of a test binary.
pub(in crate::place) struct BinaryFiles {
    root: Node,
    /// The folders for `LD_LIBRARY_PATH`.
    pub(in crate::place) library_folders: BTreeSet<PathBuf>,
    /// The folders of the host's programs, for `PATH`.
    pub(in crate::place) program_folders: BTreeSet<PathBuf>,
}

impl BinaryFiles {
    /// Finds the files of a binary and the host's programs that the questions of its tests name, and adds the
    /// empty folder of `CARGO_TARGET_TMPDIR`.
    pub(in crate::place) fn of(binary: &Binary, questions: &[String]) -> Result<Self, ImageError> {
        let search = search_path(binary);
        let mut libraries = SharedLibraries::default();
        let mut root = Node::directory(0o755);
        for executable in std::iter::once(&binary.executable).chain(&binary.programs) {
            add_program(&mut root, &mut libraries, executable, &search)?;
        }
        let mut program_folders = BTreeSet::new();
        let questions = questions.iter().map(String::as_str);
        for program in [SHELL]
            .into_iter()
            .chain(questions)
            .filter_map(host_program)
        {
            // Without it the constraint is unmet in the guest, which names the program.
            if add_program(&mut root, &mut libraries, &program, &search).is_ok() {
                program_folders.extend(program.parent().map(Path::to_owned));
            }
        }
        for file in &libraries.files {
            add_file(&mut root, file)?;
        }
        if let Some(target) = target_folder_of(&binary.executable) {
            folder(&mut root, &parts(&target.join("tmp"))?);
        }
        Ok(Self {
            root,
            library_folders: libraries.folders,
            program_folders,
        })
    }

    /// Writes an image of the files.
    pub(in crate::place) fn write(&self, owner: Owner, image: &Path) -> Result<(), ImageError> {
        let file = File::create(image).map_err(at(image))?;
        erofs::write(&self.root, owner, &file, image)
            .map_err(|(path, source)| ImageError::Io { path, source })
    }
}

/// Adds a program with its interpreter and its shared libraries, and no file if one of them cannot be found.
fn add_program(
    root: &mut Node,
    libraries: &mut SharedLibraries,
    executable: &Path,
    search: &[PathBuf],
) -> Result<(), ImageError> {
    let (mut files, mut program) = (Vec::new(), executable.to_owned());
    // An interpreter can be a script too. The kernel follows as many.
    for _ in 0..5 {
        let Some(interpreter) = interpreter_of(&program)? else {
            break;
        };
        files.push(std::mem::replace(&mut program, interpreter));
    }
    libraries.add(&program, search)?;
    files.push(program);
    files.iter().try_for_each(|file| add_file(root, file))
}

/// Returns the interpreter of a script: `#!/bin/sh`.
fn interpreter_of(program: &Path) -> Result<Option<PathBuf>, ImageError> {
    let mut start = Vec::new();
    let file = File::open(program).map_err(at(program))?;
    // The kernel reads as much.
    let read = file.take(256).read_to_end(&mut start);
    read.map_err(at(program))?;
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace);
    let first = words.find(|word| !word.is_empty()).unwrap_or_default();
    let interpreter = PathBuf::from(OsStr::from_bytes(first));
    match interpreter.is_absolute() {
        true => Ok(Some(interpreter)),
        false => Err(ImageError::BadPath(interpreter)),
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

/// Adds a file at its path.
fn add_file(root: &mut Node, path: &Path) -> Result<(), ImageError> {
    let data = path.metadata().map_err(at(path))?;
    let parts = parts(path)?;
    let (name, folders) = parts
        .split_last()
        .ok_or_else(|| ImageError::BadPath(path.into()))?;
    let node = Node {
        kind: Kind::File(path.into(), data.len()),
        // Readable for all: the guest has other users than the host.
        mode: (data.mode() & 0o7777 | 0o444) as u16,
        modified: (data.mtime(), 0),
    };
    folder(root, folders).insert((*name).into(), node);
    Ok(())
}

/// Returns the files of a folder, which is added if it is not there.
fn folder<'a>(root: &'a mut Node, parts: &[&str]) -> &'a mut BTreeMap<std::ffi::OsString, Node> {
    let mut node = root;
    for part in parts {
        let Kind::Directory(files) = &mut node.kind else {
            unreachable!("only files have no files, and they are the last of their paths");
        };
        node = files
            .entry(part.into())
            .or_insert_with(|| Node::directory(0o755));
    }
    match &mut node.kind {
        Kind::Directory(files) => files,
        Kind::File(..) | Kind::Link(_) => unreachable!("a folder is no file on this host"),
    }
}
