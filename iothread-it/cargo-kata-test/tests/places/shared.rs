//! Lets an unprivileged user run VMs from the artifacts of root, whose home others cannot enter.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::{Store, WorkFolder};
use nix::unistd::{Uid, geteuid};

use crate::user_folder;

/// Returns the folder with the lists of artifacts that this user can use.
pub(crate) fn work_folder() -> Result<WorkFolder> {
    let copied = copies(geteuid());
    match copied.path().exists() {
        true => Ok(copied),
        false => Ok(WorkFolder::find()?),
    }
}

fn copies(user: Uid) -> WorkFolder {
    WorkFolder::in_target(&user_folder(user).join("copies"))
}

/// Copies the artifacts of all places for a user who cannot enter the cache.
pub(crate) fn share_with(user: Uid) -> Result<()> {
    let cache = Store::of_user()?.base().to_owned();
    let copies = copies(user);
    let _ = fs::remove_dir_all(copies.path());
    let may_enter = |folder: &Path| {
        let mode = folder.metadata().map(|data| data.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 != 0)
    };
    if cache.ancestors().all(may_enter) {
        return Ok(());
    }
    let copied = user_folder(user).join("cache");
    let from = WorkFolder::find()?.path().join("places");
    let to = copies.path().join("places");
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&from)? {
        let name = entry?.file_name();
        let list = fs::read_to_string(from.join(&name))?;
        for entry in entries(&list, &cache) {
            copy(&cache.join(&entry), &copied.join(&entry))?;
        }
        let text = |path: &Path| path.to_str().map(str::to_owned).context("not UTF-8");
        let list = list.replace(&text(&cache)?, &text(&copied)?);
        fs::write(to.join(name), list)?;
    }
    Ok(())
}

/// Returns the entries of the cache, such as `images/KEY`, that a list names.
fn entries(list: &str, cache: &Path) -> Vec<PathBuf> {
    let words = list.split(['"', ':']).map(Path::new);
    let inside = words.filter_map(|path| path.strip_prefix(cache).ok());
    let mut entries: Vec<PathBuf> = inside.map(|path| path.iter().take(2).collect()).collect();
    entries.sort();
    entries.dedup();
    entries
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !to.exists() {
        fs::create_dir_all(to.parent().context("no parent")?)?;
        let mut command = Command::new("cp");
        command
            .args(["-a", "--reflink=auto", "--"])
            .args([from, to]);
        ensure!(
            command.status()?.success(),
            "cannot copy {}",
            from.display()
        );
    }
    Ok(())
}
