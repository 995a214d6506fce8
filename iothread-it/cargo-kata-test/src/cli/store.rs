//! Opens the cache of this user with the workspace's settings: archive, lock file, limit.

use std::path::{Path, PathBuf};

use anyhow::Result;
use guest_vm::artifacts::{
    DebianArchive, LOCK_FILE, PackageSource, Pins, Progress, Store, StoreLock, shown_size,
};
use guest_vm::cache::Cache;
use sha2::{Digest as _, Sha256};

use super::cargo;

/// Opens the cache. Packages are those of the lock file, if the workspace has one.
///
/// # Errors
/// If the cache folder is unknown or not safe, or a setting is invalid.
pub(super) fn open(offline: bool) -> Result<Store> {
    open_with(&lock_file()?, offline)
}

/// Opens the cache. Packages are those of this lock file, if it exists.
///
/// # Errors
/// If the cache folder is unknown or not safe, or a setting is invalid.
pub(super) fn open_with(lock_file: &Path, offline: bool) -> Result<Store> {
    let source = PackageSource {
        archive: DebianArchive::from_env()?,
        pins: Pins::read(lock_file)?,
        offline,
        fresh: false,
    };
    Ok(Store::of_user()?.with_source(source))
}

/// Removes the least recently used entries if the cache is too large.
///
/// # Errors
/// If an entry cannot be removed.
pub(super) fn bound(lock: &StoreLock, progress: &mut dyn Progress) -> Result<()> {
    let store = lock.store();
    let removed = Cache::read(store).prune(store.limit(), lock)?;
    if !removed.is_empty() {
        let bytes = removed.iter().map(|entry| entry.bytes).sum();
        progress.noted(&format!(
            "removed {} unused entries, {}, from the cache, which may have {}",
            removed.len(),
            shown_size(bytes),
            shown_size(store.limit())
        ));
    }
    Ok(())
}

/// Returns the path of the workspace's lock file.
///
/// # Errors
/// If there is no workspace.
pub(super) fn lock_file() -> Result<PathBuf> {
    Ok(cargo::workspace_root()?.join(LOCK_FILE))
}

/// Returns a key for what the cache has after a run in this workspace.
///
/// # Errors
/// If a setting is invalid.
pub(super) fn ci_key() -> Result<String> {
    let mut hasher = Sha256::new();
    if let Some(archive) = DebianArchive::from_env()? {
        hasher.update(archive.url());
        hasher.update(archive.suites().join(" "));
    }
    // Outside of a workspace there is none.
    let lock = lock_file().ok().and_then(|path| std::fs::read(path).ok());
    hasher.update(lock.unwrap_or_default());
    let digest = hasher.finalize();
    let hash: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "kata-test-{version}-{}-{hash}",
        std::env::consts::ARCH
    ))
}
