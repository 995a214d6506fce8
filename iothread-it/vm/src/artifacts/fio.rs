//! fio, for a guest: the program, its loader and its libraries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::{AptError, PackageSet, ensure};
use super::error::ArtifactError;
use super::progress::Progress;
use super::store::StoreLock;
use super::unpacked_qemu::{library_folders, loader};
use crate::process::BoundedCommand;

/// How long the loader may take to list the libraries.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

const FIO: PackageSet = PackageSet {
    name: "fio",
    candidates: &["fio"],
    // Its plotting scripts are not used.
    needs: |package| !package.name().contains("python"),
    check: |root| match files(root) {
        Some(files) => Ok(files.len().to_string()),
        None => Err(AptError::Lacks("fio")),
    },
};

/// Provides fio, and returns its files with their names: `fio`, the loader, and libraries, for one folder.
///
/// # Errors
/// If the packages cannot be fetched or unpacked.
pub fn provision_fio(
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<Vec<(String, PathBuf)>, ArtifactError> {
    let root = ensure(lock, None, &FIO, progress)?.root;
    Ok(files(&root).ok_or(AptError::Lacks("fio"))?)
}

fn files(root: &Path) -> Option<Vec<(String, PathBuf)>> {
    let program = root.join("usr/bin/fio");
    let loader = loader(root)?;
    let mut command = Command::new(&loader);
    command
        .args(["--library-path", &library_folders(root).join(":"), "--list"])
        .arg(&program);
    let list = BoundedCommand::new("the loader of fio", command, LIST_TIMEOUT);
    let libraries = list.succeed(|_| {}).ok()?.stdout;
    let mut files: Vec<_> = libraries.iter().filter_map(|line| library(line)).collect();
    files.push(("fio".to_owned(), program));
    let name = loader.file_name()?.to_str()?.to_owned();
    if !files.iter().any(|(known, _)| *known == name) {
        files.push((name, loader));
    }
    Some(files)
}

/// Parses `NAME => PATH (ADDRESS)`. The name of the loader is a path.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let (path, _) = rest.rsplit_once(" (")?;
    let name = name.rsplit('/').next()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_s_list_is_parsed() {
        let parsed = |line| library(line).map(|(name, path)| format!("{name} {}", path.display()));
        assert_eq!(
            parsed("\tlibz.so.1 => /a b/libz.so.1 (0x00007f)").as_deref(),
            Some("libz.so.1 /a b/libz.so.1")
        );
        assert_eq!(
            parsed("\t/lib64/ld-linux-x86-64.so.2 => /r/ld.so (0x00007f)").as_deref(),
            Some("ld-linux-x86-64.so.2 /r/ld.so")
        );
        assert_eq!(parsed("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(parsed("\tlibx.so => not found"), None);
    }
}
