//! The memory files of a template, one for each NUMA node, as two types.
//!
//! The guest that boots writes a [`DraftRam`], a shared mapping. It is consumed when the template is
//! committed; clones get a [`TemplateRam`], a private mapping.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The memory of a guest that boots to become a template.
#[derive(Debug)]
pub struct DraftRam(Vec<File>);

impl DraftRam {
    /// Makes the files, which must not exist, with these sizes.
    pub(crate) fn create(paths: &[PathBuf], sizes: &[u64]) -> io::Result<Self> {
        let create = |(path, size): (&PathBuf, &u64)| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(0o600);
            let file = options.open(path)?;
            file.set_len(*size)?;
            Ok(file)
        };
        paths
            .iter()
            .zip(sizes)
            .map(create)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Sets mode 0400. The QEMU that writes the file must have exited.
    ///
    /// Only QEMU 8.2 or newer can then restore a clone without being root: older versions open the
    /// memory for writing. If such a QEMU changes the file, [`FileState`](crate::artifacts::FileState)
    /// differs and the template is not used again.
    pub(crate) fn make_read_only(&self) -> io::Result<()> {
        let mode = Permissions::from_mode(0o400);
        self.0
            .iter()
            .try_for_each(|file| file.set_permissions(mode.clone()))
    }

    /// Flushes the data to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.iter().try_for_each(File::sync_data)
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.0
    }
}

/// The memory of a template. Clones map it privately.
#[derive(Debug)]
pub struct TemplateRam(Vec<File>);

impl TemplateRam {
    pub(crate) fn new(files: Vec<File>) -> Self {
        Self(files)
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.0
    }

    /// Returns the first file, which stands for all.
    pub(crate) fn file(&self) -> &File {
        &self.0[0]
    }
}

/// Opens a file for reading without following a symbolic link.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    File::options().read(true).custom_flags(no_link).open(path)
}
