//! A guest's memory as a file: written by the one guest that boots on it, and read by all that are
//! restored from it.
//!
//! Which of the two it is, is a type. Only a [`DraftRam`] makes QEMU map the file shared, and it
//! ends, in [`Draft::commit`](crate::warm), before there is a [`TemplateRam`] of
//! the same file.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
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
