//! The paths of this process's records, and its run id.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kata_test_host::sys::target_folder_of;

use super::folder::Folder;
use super::latest::point_latest;
use super::prune::{mark, prune};
use super::start_time::start_time;

/// The variable with the descriptor of the runner's lifeline.
pub const LIFELINE: &str = "KATA_TEST_LIFELINE";

/// The folder for all records: `KATA_TEST_RECORD_DIR`, else `kata-test` below Cargo's target folder.
pub(super) fn root() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("KATA_TEST_RECORD_DIR").filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    let executable = env::current_exe().ok()?;
    let target = target_folder_of(&executable)?;
    Some(target.join("kata-test"))
}

/// The folder of the locks of serial groups: the same for all runs, since two can overlap.
pub(crate) fn serial_folder() -> Option<PathBuf> {
    root().map(|root| root.join("serial"))
}

/// The run id: that of the runner or nextest, else one for the cargo that started this process, which
/// all binaries of one `cargo test` share, else one for this process.
pub(super) fn run() -> String {
    let named = ["KATA_TEST_RUN", "NEXTEST_RUN_ID"];
    let named = named
        .into_iter()
        .filter_map(env::var_os)
        .find(|run| !run.is_empty());
    match named {
        Some(run) => file_name(&run.to_string_lossy()),
        None => {
            let parent = nix::unistd::getppid();
            let maker = if is_cargo(parent) {
                parent
            } else {
                nix::unistd::getpid()
            };
            format!("{maker}-{}", start_time(maker.as_raw()).unwrap_or_default())
        }
    }
}

/// Whether a process is the cargo that has set this process's variables. A shell is none: it starts
/// binaries of many runs.
fn is_cargo(process: nix::unistd::Pid) -> bool {
    let cargo = env::var_os("CARGO").and_then(|cargo| fs::canonicalize(cargo).ok());
    cargo.is_some() && cargo == fs::read_link(format!("/proc/{process}/exe")).ok()
}

/// Opens or makes the folder of a run's records.
pub(super) fn folder(run: &str) -> io::Result<Folder> {
    let root = root().ok_or_else(|| {
        io::Error::other("no target folder lies above this executable; set KATA_TEST_RECORD_DIR")
    })?;
    let root = make_root(&root).map_err(|error| at(&root, &error))?;
    let (folder, is_new) = run_folder(&root, run)?;
    // The process that makes the run's folder points the link at it.
    if is_new {
        point_latest(&root, run).map_err(|error| at(root.path(), &error))?;
        prune(&root);
    }
    Ok(folder)
}

/// Opens or makes the folder for all records and those above it, each for the owner of its parent.
pub fn make_root(root: &Path) -> io::Result<Folder> {
    match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            make_root(parent)?;
        }
        _ => {}
    }
    Ok(Folder::make(root)?.0)
}

/// Opens or makes the folder of a run, and returns whether it is new.
pub fn run_folder(root: &Folder, run: &str) -> io::Result<(Folder, bool)> {
    let runs = root.path().join("runs");
    let make = || {
        let (runs, _) = root.folder("runs")?;
        let (folder, is_new) = runs.folder(run)?;
        if is_new {
            mark(&folder, run)?;
        }
        Ok((folder, is_new))
    };
    make().map_err(|error| at(&runs, &error))
}

/// Adds a path to an error.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Turns a text into a file name for any file system and archive.
pub fn file_name(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = text
        .chars()
        .map(|c| if safe(c) { c } else { '_' })
        .collect();
    match name.trim_start_matches('.') {
        "" => "_".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: names. Where files really go is covered by the tests that run binaries.

    use super::*;

    #[test]
    fn file_names_hold_no_separator() {
        assert_eq!(file_name("iothread-it::it"), "iothread-it__it");
        assert_eq!(file_name("a/../b"), "a_.._b");
        assert_eq!(file_name(".."), "_");
        assert_eq!(file_name(""), "_");
    }
}
