//! Decompresses the kernel so that QEMU can enter it directly (PVH).
//!
//! A `vmlinuz` decompresses itself, which is slow on emulated CPUs. `qemu/boot.rs` has the measured
//! gain.

mod bzimage;
mod pvh;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use bzimage::UnpackError;

use crate::artifacts::{FileState, write_atomically};

/// Why a kernel cannot be booted decompressed.
#[derive(Debug, thiserror::Error)]
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
    #[error("the kernel {} has no PVH entry", path.display())]
    NoPvh {
        /// The kernel.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
}

/// The input and output files of a decompression, stored beside the output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    packed: FileState,
    unpacked: FileState,
}

/// Decompresses the kernel `image` to `out`, unless `out` is up to date.
///
/// # Errors
/// If the kernel cannot be decompressed or has no PVH entry. `image` itself can still be booted.
pub fn uncompressed(image: &Path, out: &Path) -> Result<(), UncompressedError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| UncompressedError::Io { path, source }
    };
    let mut note_path = out.as_os_str().to_owned();
    note_path.push(".inputs.json");
    let note_path = PathBuf::from(note_path);
    if is_current(&note_path, image, out) {
        return Ok(());
    }
    let packed = FileState::of(image).map_err(io(image))?;
    let bytes = std::fs::read(image).map_err(io(image))?;
    let kernel = bzimage::unpack(&bytes).map_err(|source| UncompressedError::Unpack {
        path: image.into(),
        source,
    })?;
    if !pvh::has_entry(&kernel) {
        return Err(UncompressedError::NoPvh { path: image.into() });
    }
    write_atomically(out, &kernel).map_err(io(out))?;
    let unpacked = FileState::of(out).map_err(io(out))?;
    let note = serde_json::to_vec_pretty(&Note { packed, unpacked });
    // Written last: without a matching note, a file is not used.
    let written = note.map_err(Into::into);
    let written = written.and_then(|note| write_atomically(&note_path, &note));
    written.map_err(io(&note_path))
}

fn is_current(note: &Path, image: &Path, out: &Path) -> bool {
    let note = std::fs::read(note).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    note.is_some_and(|note| {
        FileState::of(image).is_ok_and(|packed| packed == note.packed)
            && FileState::of(out).is_ok_and(|unpacked| unpacked == note.unpacked)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::bzimage::made_up::{image, lz4};
    use super::pvh::made_up::kernel;
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
        std::fs::write(&vmlinuz, packed(b"this is no kernel at all")).unwrap();
        let error = uncompressed(&vmlinuz, &vmlinux).unwrap_err();
        assert!(matches!(error, UncompressedError::NoPvh { .. }), "{error}");
        assert!(!vmlinux.exists());
    }
}
