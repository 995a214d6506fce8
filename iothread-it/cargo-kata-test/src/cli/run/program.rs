//! The program that runs, and its files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use kata_test_runner::{Binary, target_folder_of};
use memchr::memmem;
use nix::unistd::{AccessFlags, access};

/// A program, and what it is to be run with.
pub(super) struct Program {
    /// The program with its package.
    pub(super) binary: Binary,
    directory: PathBuf,
    /// The root of the workspace, or else the current directory.
    pub(super) workspace: PathBuf,
}

impl Program {
    /// Finds a program, further programs that it starts, and the package that the current directory is
    /// in.
    pub(super) fn find(program: &OsStr, further: &[PathBuf], directory: &Path) -> Result<Self> {
        let executable = locate(program, directory)?;
        let mut programs = named_in(&executable)?;
        for program in further {
            programs.push(locate(program.as_os_str(), directory)?);
        }
        let package = above(directory, "Cargo.toml");
        let workspace = above(directory, "Cargo.lock").or(package);
        let binary = Binary {
            id: executable.display().to_string(),
            executable,
            programs,
            folder: package.map(Path::to_owned).unwrap_or_default(),
            ..Binary::default()
        };
        Ok(Self {
            binary,
            workspace: workspace.unwrap_or(directory).to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// Returns the target directory: the one in the environment, or the one that the program is in.
    pub(super) fn target_directory(&self) -> Option<PathBuf> {
        match env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
            Some(path) => Some(self.directory.join(path)),
            None => target_folder_of(&self.binary.executable).map(Path::to_owned),
        }
    }
}

/// Returns the folder with this file that is next above, or the folder itself.
fn above<'a>(folder: &'a Path, file: &str) -> Option<&'a Path> {
    folder
        .ancestors()
        .find(|folder| folder.join(file).is_file())
}

/// Finds a program as a shell does: by a path, or a name in `PATH`.
pub(in crate::cli) fn locate(program: &OsStr, directory: &Path) -> Result<PathBuf> {
    let may_run = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let shown = program.display();
    if program.as_bytes().contains(&b'/') {
        let path = directory.join(program);
        let path = match path.components().any(|part| part == Component::ParentDir) {
            true => fs::canonicalize(&path),
            false => Ok(path),
        };
        let path = path.with_context(|| format!("cannot find {shown}"))?;
        return match may_run(&path) {
            true => Ok(path),
            false => bail!("{shown} is not an executable file"),
        };
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&folders).map(|folder| directory.join(folder).join(program));
    found
        .find(may_run)
        .with_context(|| format!("cannot find {shown} in the folders of `PATH`"))
}

/// Returns the programs of its package that a test binary names (`CARGO_BIN_EXE_…`): files beside `deps`
/// whose paths are in it.
fn named_in(executable: &Path) -> Result<Vec<PathBuf>> {
    let folder = executable
        .parent()
        .filter(|folder| folder.ends_with("deps"));
    let Some(profile) = folder.and_then(Path::parent) else {
        return Ok(Vec::new());
    };
    let content = fs::read(executable);
    let content = content.with_context(|| format!("cannot read {}", executable.display()))?;
    let files = fs::read_dir(profile).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    let is_named = |path: &PathBuf| {
        path.extension().is_none()
            && path.is_file()
            && access(path, AccessFlags::X_OK).is_ok()
            && memmem::find(&content, path.as_os_str().as_bytes()).is_some()
    };
    Ok(files.filter(is_named).collect())
}
