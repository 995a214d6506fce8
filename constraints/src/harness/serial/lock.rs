//! The lock file of a serial group.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::O_NOFOLLOW;
use nix::unistd::Pid;

use crate::harness::clock::slow_after;
use crate::harness::leaks::command_line;
use crate::record::{self, Folder};
use crate::runner_env::scaled;
use crate::sys::{self, in_thread_within, stderr};

/// How long a test waits for its serial group before it fails.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// How long a test in this place waits for its serial group before it fails.
pub(in crate::harness) fn longest_wait() -> Duration {
    scaled(LONGEST_WAIT)
}

/// Waits for a group's lock on this thread; dropping the file releases it.
pub(crate) fn lock(name: &str) -> Result<File, String> {
    let file = open(name)?;
    wait_within(name, &file, slow_after()?, longest_wait())?;
    Ok(file)
}

/// Waits for a group's lock, and prints a notice if that takes longer than `notice`.
fn wait_within(name: &str, file: &File, notice: Duration, limit: Duration) -> Result<(), String> {
    let lock = |limit| lock_within(file, limit).map_err(|error| cannot_lock(name, &error));
    if lock(notice)? {
        return Ok(());
    }
    stderr(&format!("{}\n", waiting_for(name, file)));
    if lock(limit)? {
        return Ok(());
    }
    Err(format!(
        "timed out after {limit:?} {}",
        waiting_for(name, file)
    ))
}

/// Returns whether the file could be locked in time. If not, a thread goes on waiting, which holds
/// nothing: the lock belongs to the open file and goes when every descriptor of it is closed.
fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    if sys::try_lock(file)? {
        return Ok(true);
    }
    let same = file.try_clone()?;
    let locked = in_thread_within("serial lock", limit, move || sys::lock(&same))?;
    locked.transpose().map(|locked| locked.is_some())
}

/// Describes a wait: the group, the process that holds its lock if that is known, and the file.
pub(super) fn waiting_for(name: &str, file: &File) -> String {
    let path = path_of(file).unwrap_or_default();
    let holder = holder(&path).map_or_else(
        || "another process".to_owned(),
        |pid| {
            let command = command_line(pid).unwrap_or_else(|| "?".to_owned());
            format!("process {pid} ({command})")
        },
    );
    format!(
        "waiting for serial group {name}: {holder} holds {}",
        path.display()
    )
}

fn path_of(file: &File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The process that holds the lock. It is searched for among the open files of all processes:
/// `/proc/locks` names the process that called flock(2), which can be a waiting child that has ended.
fn holder(path: &Path) -> Option<Pid> {
    let holds = |process: &Path| {
        let fds = fs::read_dir(process.join("fd"));
        fds.into_iter().flatten().flatten().any(|fd| {
            let info = process.join("fdinfo").join(fd.file_name());
            fs::read_link(fd.path()).is_ok_and(|target| target == path)
                && fs::read_to_string(info).is_ok_and(|info| info.contains("\nlock:"))
        })
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path()).then_some(pid)
    });
    pids.next().map(Pid::from_raw)
}

/// Opens a group's lock file.
pub(super) fn open(name: &str) -> Result<File, String> {
    let folder = record::serial_folder().ok_or_else(|| {
        format!("serial group {name} has no folder for its lock: set KATA_TEST_RECORD_DIR")
    })?;
    let open = || {
        let root = record::make_root(folder.parent().unwrap_or(&folder))?;
        let (folder, _) = root.folder("serial")?;
        open_or_create(&folder, &format!("{name}.lock"))
    };
    open().map_err(|error| {
        cannot_lock(
            name,
            &io::Error::new(error.kind(), format!("{}: {error}", folder.display())),
        )
    })
}

/// Opens for reading, which is enough for flock(2): the file may be another user's.
fn open_or_create(folder: &Folder, name: &str) -> io::Result<File> {
    let open = || {
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(O_NOFOLLOW);
        options.open(folder.at(name))
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.create(name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => open(),
        },
        opened => opened,
    }
}

pub(super) fn cannot_lock(name: &str, error: &io::Error) -> String {
    format!("cannot lock serial group {name}: {error}; set KATA_TEST_RECORD_DIR")
}

#[cfg(test)]
mod tests {
    //! Scope: the end of a wait. Tests that wait for each other are in the hostile sample.

    use super::*;

    #[test]
    fn a_wait_fails_at_its_deadline_and_names_group_and_holder() {
        let temp = tempfile::NamedTempFile::new().expect("a file");
        sys::lock(temp.as_file()).expect("a lock");
        let other = File::open(temp.path()).expect("the same file");
        let short = Duration::from_millis(20);
        let problem = wait_within("disks", &other, short, short).expect_err("no lock");
        let expected = format!(
            "timed out after 20ms waiting for serial group disks: process {} (",
            std::process::id()
        );
        assert!(problem.starts_with(&expected), "{problem}");
        sys::unlock(temp.as_file()).expect("unlocked");
        assert_eq!(wait_within("disks", &other, short, LONGEST_WAIT), Ok(()));
    }
}
