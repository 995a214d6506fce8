//! A folder that is another user's HOME and TMPDIR for one test.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may change its environment"
)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::User;
use crate::record::start_time;
use crate::sys::set_variables;

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
        chown(&home.0, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        Ok(home)
    }

    /// Lets the calling child live there.
    pub(in crate::harness) fn enter(&self) {
        let path = self.0.as_os_str();
        // SAFETY: a child that the harness has just forked has one thread.
        unsafe { set_variables(&[("HOME", path), ("TMPDIR", path)]) };
    }
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
