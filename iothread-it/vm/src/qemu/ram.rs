//! The memory file of a template, as two types.
//!
//! The guest that boots writes a [`DraftRam`], a shared mapping. It is consumed when the template is
//! committed; clones get a [`TemplateRam`], a private mapping.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The memory of a guest that boots to become a template.
#[derive(Debug)]
pub struct DraftRam(File);

impl DraftRam {
    /// Makes the file, which must not exist.
    pub(crate) fn create(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path)?;
        file.set_len(size)?;
        Ok(Self(file))
    }

    /// Sets mode 0400. The QEMU that writes the file must have exited.
    ///
    /// Only QEMU 8.2 or newer can then restore a clone without being root: older versions open the
    /// memory for writing. If such a QEMU changes the file, [`FileState`](crate::artifacts::FileState)
    /// differs and the template is not used again.
    pub(crate) fn make_read_only(&self) -> io::Result<()> {
        self.0.set_permissions(Permissions::from_mode(0o400))
    }

    /// Flushes the data to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// The memory of a template. Clones map it privately.
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

/// Opens a file for reading without following a symbolic link.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    File::options().read(true).custom_flags(no_link).open(path)
}
