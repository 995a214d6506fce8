//! Where the records of this process go.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kata_test_host::sys::target_folder_of;

use super::hand_over::make_folder;
use super::latest::point_latest;
use super::prune::prune;
use super::start::start_time;

/// The variable in which a runner names the descriptor of its pipe.
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

/// The run this process belongs to: what the runner or nextest says, else the parent's identity, so
/// that all test binaries of one `cargo test` share it.
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
            format!(
                "{parent}-{}",
                start_time(parent.as_raw()).unwrap_or_default()
            )
        }
    }
}

/// The folder of a run's records, made if it is not there.
pub(super) fn folder(run: &str) -> io::Result<PathBuf> {
    let root = root().ok_or_else(|| {
        io::Error::other("no target folder lies above this executable; set KATA_TEST_RECORD_DIR")
    })?;
    let runs = root.join("runs");
    make_root(&root).map_err(|error| at(&root, &error))?;
    make_folder(&runs).map_err(|error| at(&runs, &error))?;
    let dir = runs.join(run);
    // Whoever opens the run points at it; the others find it pointed at.
    if make_folder(&dir).map_err(|error| at(&dir, &error))? {
        point_latest(&root, run).map_err(|error| at(&root, &error))?;
        prune(&root);
    }
    Ok(dir)
}

/// Makes the folder for all records, if it is not there.
pub(crate) fn make_root(root: &Path) -> io::Result<()> {
    root.parent().map_or(Ok(()), fs::create_dir_all)?;
    make_folder(root).map(drop)
}

/// An error with the path that it is about.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A text as the name of one file, on any file system and in any archive.
pub(super) fn file_name(text: &str) -> String {
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
