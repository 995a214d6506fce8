//! A folder that is another user's HOME and TMPDIR for one test.
//!
//! The user's folder lies in one that belongs to the harness, with a marker file that the harness
//! keeps locked. So a later harness can tell which folders in the shared temporary folder are left
//! over from killed ones: those of its own user that have the marker, unlocked.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc::O_NOFOLLOW;
use nix::unistd::geteuid;

use super::User;
use crate::record::open_folder;
use crate::sys;

/// How the folders' names begin; the pid of the harness and a number follow.
const PREFIX: &str = "kata-test-home-";

/// The file in each folder that holds the folder's name.
const MARKER: &str = "kata-test-home";

/// The user's folder; it is removed when this is dropped.
#[derive(Debug)]
pub(in crate::harness) struct Home {
    outer: PathBuf,
    home: PathBuf,
    _locked: File,
}

impl Home {
    pub(in crate::harness) fn make(user: User) -> io::Result<Self> {
        Self::make_in(&std::env::temp_dir(), user)
    }

    fn make_in(temp: &Path, user: User) -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            sweep(temp);
        }
        let outer = make_outer(temp, count)?;
        let filled = Self::fill(&outer, user);
        if filled.is_err() {
            // Without its marker no sweep would take it.
            let _ = fs::remove_dir_all(&outer);
        }
        filled
    }

    fn fill(outer: &Path, user: User) -> io::Result<Self> {
        // The mode at its creation is subject to the umask.
        open_folder(outer)?.set_permissions(Permissions::from_mode(0o711))?;
        let locked = mark(outer)?;
        let home = outer.join("home");
        DirBuilder::new().mode(0o700).create(&home)?;
        hand_over(&home, user)?;
        Ok(Self {
            outer: outer.to_owned(),
            home,
            _locked: locked,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.home
    }
}

/// Makes a folder that others can only pass through. A name that is taken is left alone.
fn make_outer(temp: &Path, count: usize) -> io::Result<PathBuf> {
    let mut attempt = 0;
    loop {
        let pid = std::process::id();
        let path = temp.join(format!("{PREFIX}{pid}-{count}-{attempt}"));
        match DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Writes the marker. It gets its name only when it is locked: without the name, no sweep takes it.
fn mark(outer: &Path) -> io::Result<File> {
    let unlocked = outer.join("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(&unlocked)?;
    sys::lock(&file)?;
    let name = outer.file_name().unwrap_or_default();
    file.write_all(name.as_encoded_bytes())?;
    fs::rename(unlocked, outer.join(MARKER))?;
    Ok(file)
}

/// Changes a folder's owner, by descriptor: another user may have put a link in its place.
fn hand_over(folder: &Path, user: User) -> io::Result<()> {
    let (uid, gid) = (user.0.uid.as_raw(), user.0.gid.as_raw());
    fchown(open_folder(folder)?, Some(uid), Some(gid))
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.outer);
    }
}

/// Removes the folders of harnesses that were killed.
fn sweep(temp: &Path) {
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            // Kept until the folder is gone, so that two sweeps do not meet.
            if let Some(_locked) = left_over(&entry.path(), &name) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Locks the marker of a folder that a harness of this user has made and that no harness uses.
fn left_over(folder: &Path, name: &OsStr) -> Option<File> {
    let own = |data: &fs::Metadata| data.uid() == geteuid().as_raw();
    let data = folder.symlink_metadata().ok()?;
    if !(data.is_dir() && own(&data) && data.mode() & 0o022 == 0) {
        return None;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NOFOLLOW);
    let mut marker = options.open(folder.join(MARKER)).ok()?;
    let mut text = Vec::new();
    if !sys::try_lock(&marker).ok()? {
        return None;
    }
    let read = (&mut marker).take(1024).read_to_end(&mut text).is_ok();
    (read && own(&marker.metadata().ok()?) && text == name.as_encoded_bytes()).then_some(marker)
}

#[cfg(test)]
mod tests {
    //! Scope: the owner and the sweep. Tests of root cover other users.

    use std::os::unix::fs::symlink;

    use nix::unistd::getegid;

    use super::*;
    use crate::harness::user::account::Account;

    fn me() -> User {
        User(Account::of(geteuid(), Some(getegid())).expect("a user"))
    }

    #[test]
    fn a_link_is_not_handed_over() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("folder");
        let link = temp.path().join("link");
        fs::create_dir(&folder).expect("a folder");
        symlink(&folder, &link).expect("a link");
        assert!(hand_over(&folder, me()).is_ok());
        assert!(hand_over(&link, me()).is_err());
    }

    #[test]
    fn only_marked_folders_that_no_harness_uses_are_swept() {
        let temp = tempfile::tempdir().expect("a folder");
        let at = |name: &str| temp.path().join(name);
        // Older names, with a pid and start time of no process.
        let [unmarked, copied] = ["1-1-0", "2-2-0"].map(|name| at(&format!("{PREFIX}{name}")));
        for folder in [&unmarked, &copied] {
            fs::create_dir(folder).expect("a folder");
            fs::write(folder.join("precious"), "x").expect("a file");
        }
        fs::write(copied.join(MARKER), "another name").expect("a file");
        let used = Home::make_in(temp.path(), me()).expect("a home");
        let killed = Home::make_in(temp.path(), me()).expect("a home");
        let left = killed.outer.clone();
        // As it is when its process has been killed.
        let Home { _locked: lock, .. } = &killed;
        sys::unlock(lock).expect("unlocked");
        let link = at(&format!("{PREFIX}link"));
        symlink(&left, &link).expect("a link");
        sweep(temp.path());
        assert!(unmarked.join("precious").exists() && copied.join("precious").exists());
        assert!(used.path().exists() && link.is_symlink());
        assert!(!left.exists());
    }

    #[test]
    fn a_home_is_removed_with_its_folder() {
        let temp = tempfile::tempdir().expect("a folder");
        drop(Home::make_in(temp.path(), me()).expect("a home"));
        assert_eq!(fs::read_dir(temp.path()).expect("a folder").count(), 0);
    }
}
