//! A guest's memory as a file: written by the one guest that boots on it, and read by all that are
//! restored from it.
//!
//! Which of the two it is, is a type. Only a [`DraftRam`] makes QEMU map the file shared, and it
//! ends, in [`Draft::commit`](crate::warm), before there is a [`TemplateRam`] of
//! the same file.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The memory of a guest that boots to become a template. What the guest writes is in the file.
#[derive(Debug)]
pub struct DraftRam(File);

impl DraftRam {
    /// Makes the file, which must not be there yet.
    pub(crate) fn create(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path)?;
        file.set_len(size)?;
        Ok(Self(file))
    }

    /// Makes the file read-only for its owner too. Its writer must have ended.
    ///
    /// Only for a QEMU from 8.2 on, which opens the memory of a clone for reading only. An older one
    /// always opens it for reading and writing; what it writes then shows in the file's state, which
    /// every use of the template compares.
    pub(crate) fn make_read_only(&self) -> io::Result<()> {
        self.0.set_permissions(Permissions::from_mode(0o400))
    }

    /// Waits until all that was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// The memory of a template. What a guest writes that is restored from it is its own.
#[derive(Debug)]
pub struct TemplateRam(File);

impl TemplateRam {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        open_regular(path).map(Self)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// Opens a file for reading, and no link to one.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    File::options().read(true).custom_flags(no_link).open(path)
}
