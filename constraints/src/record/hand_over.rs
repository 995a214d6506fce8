//! What root writes into another user's folder becomes that user's: records made under sudo must not
//! stand in the way of the next run without it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::geteuid;

/// Gives a new file to the owner of the folder that it lies in.
pub(crate) fn hand_over(file: impl AsFd, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path).metadata()?;
    match folder.uid() {
        0 => Ok(()),
        owner => fchown(file, Some(owner), Some(folder.gid())),
    }
}

/// Makes a folder for the owner of the folder that it lies in. Says whether it was not there.
pub(crate) fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    hand_over(open_folder(path)?, path)?;
    Ok(true)
}

/// Opens a folder, and nothing that somebody has put in its place meanwhile.
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    let flags = O_DIRECTORY | O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
