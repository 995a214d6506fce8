//! Images of packages' folders, kept until the folder changes.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kata_test_runner::Excludes;
use tempfile::NamedTempFile;

use super::erofs::{self, Owner};
use super::folder;
use super::{ImageError, at, parts};

/// The maximum size of the images of all packages. The ones that were unused for longest are removed
/// first.
const MAX_CACHE_BYTES: u64 = 8 << 30;

/// The version of what an image contains.
const LAYOUT: u32 = 1;

/// Links an image of a package's folder to `link`. It is built if the one in `cache` is out of date.
pub(in crate::place) fn package(
    package: &Path,
    excludes: &Excludes,
    owner: Owner,
    cache: &Path,
    link: &Path,
) -> Result<(), ImageError> {
    parts(package)?;
    let folder = folder::read(package, excludes)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(cache);
    made.map_err(at(cache))?;
    let prefix = format!("{:016x}-", hash(&package));
    // After a crash of the host, an image may be incomplete.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let key = hash(&(LAYOUT, boot, owner, &folder.root, folder.changes));
    let image = cache.join(format!("{prefix}{key:016x}"));
    // Another runner may remove it, but not the link.
    if fs::hard_link(&image, link).is_ok() {
        let used = File::open(link).and_then(|file| file.set_modified(SystemTime::now()));
        return used.map_err(at(link));
    }
    folder.settle();
    let file = NamedTempFile::new_in(cache).map_err(at(cache))?;
    erofs::write(&folder.root, owner, file.as_file(), file.path())
        .map_err(|(path, source)| ImageError::Io { path, source })?;
    fs::hard_link(file.path(), link).map_err(at(link))?;
    file.persist(&image)
        .map_err(|error| at(&image)(error.error))?;
    // It is only a cache: the next run tries again.
    let _ = remove_old(cache, &prefix, &image);
    Ok(())
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Removes other images of the same folder, and more than the cache may hold.
fn remove_old(cache: &Path, prefix: &str, new: &Path) -> io::Result<()> {
    let mut others: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(cache)? {
        let (path, data) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Another process may be writing one with a temporary name.
        if path == new || name.starts_with(".tmp") {
            continue;
        }
        match name.starts_with(prefix) {
            true => fs::remove_file(&path)?,
            false => others.push((data.modified()?, data.len(), path)),
        }
    }
    others.sort();
    let mut size = new.metadata()?.len() + others.iter().map(|(_, size, _)| size).sum::<u64>();
    for (_, bytes, path) in others {
        if size <= MAX_CACHE_BYTES {
            break;
        }
        fs::remove_file(path)?;
        size -= bytes;
    }
    Ok(())
}
