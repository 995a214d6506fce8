//! A folder that is another user's HOME and TMPDIR for one test.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::User;
use crate::record::{open_folder, start_time};

/// How the folders' names begin; the pid and start time of their owner follow.
const PREFIX: &str = "kata-test-home-";

/// The folder; it goes when this is dropped.
#[derive(Debug)]
pub(in crate::harness) struct Home(PathBuf);

impl Home {
    pub(in crate::harness) fn make(user: User) -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let temp = std::env::temp_dir();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            sweep(&temp);
        }
        let pid = nix::unistd::getpid();
        let start = start_time(pid.as_raw()).unwrap_or_default();
        let path = temp.join(format!("{PREFIX}{pid}-{start}-{count}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        let home = Self(path);
        hand_over(&home.0, user)?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// Gives a folder to a user, by descriptor: somebody may have put a link in its place meanwhile.
fn hand_over(folder: &Path, user: User) -> io::Result<()> {
    let (uid, gid) = (user.0.uid.as_raw(), user.0.gid.as_raw());
    fchown(open_folder(folder)?, Some(uid), Some(gid))
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what harnesses left that were killed.
fn sweep(temp: &Path) {
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let mut parts = name.strip_prefix(PREFIX)?.split('-');
            let pid: i32 = parts.next()?.parse().ok()?;
            let start: u64 = parts.next()?.parse().ok()?;
            Some((pid, start))
        });
        if owner.is_some_and(|(pid, start)| start_time(pid) != Some(start)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: a link in the place of the folder. Real homes are in the tests that run as root.

    use std::os::unix::fs::symlink;

    use nix::unistd::{getegid, geteuid};

    use super::*;
    use crate::harness::user::account::Account;

    #[test]
    fn a_link_is_not_handed_over() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("folder");
        let link = temp.path().join("link");
        fs::create_dir(&folder).expect("a folder");
        symlink(&folder, &link).expect("a link");
        let me = User(Account::of(geteuid(), Some(getegid())));
        assert!(hand_over(&folder, me).is_ok());
        assert!(hand_over(&link, me).is_err());
    }
}
