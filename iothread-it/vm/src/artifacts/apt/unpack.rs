//! Unpacks packages to a staging directory and renames it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::progress::Progress;
use super::super::store::{StoreLock, at};
use super::super::sweep::remove_tree;
use super::closure::Closure;
use super::error::AptError;
use super::stamp::Stamp;
use crate::process::{BoundedCommand, CommandError};

const UNPACK_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Paths in packages that are not needed, which are many of their files.
const EXCLUDED_PATHS: [&str; 7] = [
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/xml",
];

/// Unpacks packages, checks the result, and moves it to `target` with its stamp.
///
/// An existing `target` is replaced. Programs that run from it keep their open files.
pub(super) fn unpack(
    lock: &StoreLock,
    closure: &Closure,
    target: &Path,
    check: impl FnOnce(&Path) -> Result<String, AptError>,
    progress: &mut dyn Progress,
) -> Result<Stamp, AptError> {
    let staging = lock.staging()?;
    let root = staging.path().join("root");
    std::fs::create_dir(&root).map_err(at(&root))?;
    progress.started(&format!("unpacking {} packages", closure.packages().len()));
    let result = unpack_all(lock, closure, &root, progress);
    progress.finished();
    result?;
    let stamp = Stamp::of(staging.path(), closure, check(&root)?)?;
    stamp.write(staging.path())?;
    replace(lock, &staging.keep(), target)?;
    Ok(stamp)
}

fn unpack_all(
    lock: &StoreLock,
    closure: &Closure,
    root: &Path,
    progress: &mut dyn Progress,
) -> Result<(), AptError> {
    let total: u64 = closure.packages().iter().map(|package| package.size).sum();
    let mut done = 0;
    for package in closure.packages() {
        let what = format!("dpkg-deb -x {}", package.file);
        unpack_package(&what, &lock.downloads().join(&package.file), root)?;
        done += package.size;
        progress.advanced(fraction(done, total));
    }
    for unused in EXCLUDED_PATHS {
        remove_tree(&root.join(unused))?;
    }
    Ok(())
}

/// Unpacks a package into a folder.
pub(crate) fn unpack_package(what: &str, package: &Path, root: &Path) -> Result<(), CommandError> {
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(package).arg(root);
    let run = BoundedCommand::new(what, command, UNPACK_TIMEOUT);
    run.succeed(|_| {}).map(drop)
}

#[expect(clippy::cast_precision_loss, reason = "the fraction is only displayed")]
fn fraction(done: u64, total: u64) -> f64 {
    done as f64 / total.max(1) as f64
}

/// Replaces `target` with a complete directory.
fn replace(lock: &StoreLock, finished: &Path, target: &Path) -> Result<(), AptError> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(at(parent))?;
    }
    let old = lock.staging()?;
    if target.exists() {
        std::fs::rename(target, old.path().join("old")).map_err(at(target))?;
    }
    Ok(std::fs::rename(finished, target).map_err(at(target))?)
}
