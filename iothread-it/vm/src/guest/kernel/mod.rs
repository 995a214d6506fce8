//! Decompresses the kernel so that QEMU can enter it directly (PVH).
//!
//! A `vmlinuz` decompresses itself, which is slow on emulated CPUs. `qemu/boot.rs` has the measured
//! gain.

mod bzimage;
mod pvh;

use std::path::{Path, PathBuf};

pub use bzimage::UnpackError;
pub(crate) use bzimage::unpack;
pub(crate) use pvh::has_entry;

use super::built_file;
use crate::artifacts::{FileError, FileState, cannot};

/// Why a kernel cannot be booted decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UncompressedError {
    /// The file is not a supported bzImage.
    #[error("cannot decompress the kernel {}: {source}", path.display())]
    Unpack {
        /// The kernel.
        path: PathBuf,
        /// The problem.
        source: UnpackError,
    },
    /// Built without `CONFIG_PVH`.
    #[error("the kernel {} has no PVH entry (CONFIG_PVH)", .0.display())]
    NoPvh(PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
}

/// Version of the output. Files of another version are rebuilt.
pub(super) const LAYOUT: u32 = 1;

/// Decompresses the kernel `image` to `out`, unless `out` is up to date. A vmlinux is copied.
///
/// # Errors
/// If the kernel cannot be decompressed or has no PVH entry. `image` itself can still be booted.
pub fn uncompressed(image: &Path, out: &Path) -> Result<(), UncompressedError> {
    let key = (LAYOUT, image.to_owned());
    if built_file::is_current(out, &key) {
        return Ok(());
    }
    let packed = FileState::of(image).map_err(cannot("access", image))?;
    let bytes = std::fs::read(image).map_err(cannot("access", image))?;
    let kernel = match bytes.starts_with(b"\x7fELF") {
        true => bytes,
        false => unpack(&bytes).map_err(|source| UncompressedError::Unpack {
            path: image.into(),
            source,
        })?,
    };
    if !has_entry(&kernel) {
        return Err(UncompressedError::NoPvh(image.into()));
    }
    Ok(built_file::write(out, &kernel, key, vec![packed]).map_err(cannot("access", out))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::bzimage::fixtures::{image, lz4};
    use super::pvh::fixtures::kernel;
    use super::*;

    fn packed(kernel: &[u8]) -> Vec<u8> {
        image(&lz4(kernel), kernel.len())
    }

    #[test]
    fn a_kernel_is_decompressed_again_only_if_a_file_changed() {
        let place = tempfile::tempdir().unwrap();
        let [vmlinuz, vmlinux] = ["vmlinuz", "vmlinux"].map(|name| place.path().join(name));
        let unpack = || {
            // Kept open, so that the old inode is not reused.
            let _old = std::fs::File::open(&vmlinux);
            uncompressed(&vmlinuz, &vmlinux).unwrap();
            vmlinux.metadata().unwrap().ino()
        };
        std::fs::write(&vmlinuz, packed(&kernel(b"one"))).unwrap();
        let first = unpack();
        assert_eq!(std::fs::read(&vmlinux).unwrap(), kernel(b"one"));
        assert_eq!(unpack(), first);
        std::fs::write(&vmlinuz, packed(&kernel(b"two"))).unwrap();
        let second = unpack();
        assert_ne!(second, first, "another kernel");
        std::fs::write(&vmlinux, "damage").unwrap();
        assert_ne!(unpack(), second, "a damaged file");
        assert_eq!(std::fs::read(&vmlinux).unwrap(), kernel(b"two"));
    }

    #[test]
    fn a_kernel_without_pvh_entry_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let [vmlinuz, vmlinux] = ["vmlinuz", "vmlinux"].map(|name| place.path().join(name));
        std::fs::write(&vmlinuz, packed(b"this is not a kernel")).unwrap();
        let error = uncompressed(&vmlinuz, &vmlinux).unwrap_err();
        assert!(matches!(error, UncompressedError::NoPvh { .. }), "{error}");
        assert!(error.to_string().ends_with("(CONFIG_PVH)"), "{error}");
        assert!(!vmlinux.exists());
    }
}
