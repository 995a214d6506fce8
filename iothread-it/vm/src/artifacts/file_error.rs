//! Errors of system calls on files, with what was attempted and the path.

use std::io;
use std::path::{Path, PathBuf};

/// A file or folder could not be read, written or the like.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Adds what was attempted and the path to an error of a system call.
pub(crate) fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError {
        doing,
        path: path.into(),
        source,
    }
}

/// Takes what was not there for something that was removed.
pub(crate) fn unless_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
