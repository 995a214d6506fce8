//! Opens the cache of this user with the workspace's settings: archive, lock file, limit.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use guest_vm::artifacts::{
    DebianArchive, LOCK_FILE, PackageSource, Pins, Progress, Store, StoreLock, shown_size,
};
use guest_vm::cache::Cache;
use kata_test_runner::Config;
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
        archive: archive(lock_file.parent().unwrap_or(lock_file))?,
        pins: Pins::read(lock_file)?,
        offline,
        fresh: false,
    };
    Ok(Store::of_user()?.with_source(source))
}

/// Returns the archive that the environment or the configuration of this workspace names.
///
/// # Errors
/// If it is not valid, or if the configuration is not.
pub(super) fn archive(root: &Path) -> Result<Option<DebianArchive>> {
    if let Some(archive) = DebianArchive::from_env()? {
        return Ok(Some(archive));
    }
    let config = Config::load(root)?;
    let named = config.archive.as_ref();
    let archive = named.map(|one| DebianArchive::new(&one.url, &one.suites, &one.keyring));
    archive
        .transpose()
        .context("the configuration has an invalid [archive]")
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
    if let Some(archive) = archive(&cargo::workspace_root()?)? {
        hasher.update(archive.url());
        hasher.update(archive.suites().join(" "));
    }
    // Outside of a workspace there is none.
    let lock = lock_file().ok().and_then(|path| std::fs::read(path).ok());
    hasher.update(lock.unwrap_or_default());
    let hash = hex(&hasher.finalize()[..6]);
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "kata-test-{version}-{}-{hash}",
        std::env::consts::ARCH
    ))
}

/// Formats a hash.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
