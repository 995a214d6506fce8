//! Tests that must not run at the same time: a lock for each group, across processes.
//!
//! A lock is a file below the record folder, locked by flock(2). This process holds it, not the
//! test's: the test's process closes it before anything else, so that nothing a test leaves behind
//! can keep a lock, and the kernel frees the lock of a harness that was killed. The order of tests
//! in other processes is the kernel's.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::libc::O_NOFOLLOW;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::clock::slow_after;
use crate::record::{self, Folder};
use crate::sys::{become_leader, default_signals, fork, has_ended, in_thread_within, stderr};

/// The groups of which a test runs or is waited for here.
#[derive(Default)]
pub(super) struct Serial {
    groups: Vec<Group>,
}

struct Group {
    name: &'static str,
    file: File,
    /// A child that waits for the lock, if another process has it. Both share the open file, so
    /// that what the child locks is locked for this process too, and its end is an event.
    waiter: Option<Pid>,
}

/// Whether a test of a group may start.
pub(super) enum Turn {
    /// It may, and the group is taken.
    Granted,
    /// Another test of the group runs, here or elsewhere.
    NotYet,
    Failed(String),
}

impl Serial {
    /// Asks for a group's lock without waiting for it.
    pub(super) fn ask(&mut self, name: &'static str) -> Turn {
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.look(),
            None => match Group::open(name) {
                Ok((group, turn)) => {
                    self.groups.push(group);
                    turn
                }
                Err(problem) => Turn::Failed(problem),
            },
        }
    }

    /// Gives a group's lock back, also for whoever else has the file open.
    pub(super) fn release(&mut self, name: &'static str) {
        self.groups.retain(|group| {
            let keep = group.name != name;
            if !keep {
                let _ = group.file.unlock();
            }
            keep
        });
    }

    /// What a test's process must close.
    pub(super) fn fds(&self) -> Vec<RawFd> {
        self.groups
            .iter()
            .map(|group| group.file.as_raw_fd())
            .collect()
    }

    /// The children that wait here: they are no test's.
    pub(super) fn waiters(&self) -> impl Iterator<Item = Pid> {
        self.groups.iter().filter_map(|group| group.waiter)
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        for waiter in self.waiters() {
            let _ = kill(waiter, Signal::SIGKILL);
            let _ = waitpid(waiter, None);
        }
    }
}

impl Group {
    fn open(name: &'static str) -> Result<(Self, Turn), String> {
        let file = open(name)?;
        let (waiter, turn) = match file.try_lock() {
            Ok(()) => (None, Turn::Granted),
            Err(TryLockError::WouldBlock) => {
                let waiter = wait_for(&file).map_err(|errno| {
                    format!("no process can wait for serial group {name}: {errno}")
                })?;
                (Some(waiter), Turn::NotYet)
            }
            Err(TryLockError::Error(error)) => return Err(cannot_lock(name, &error)),
        };
        Ok((Self { name, file, waiter }, turn))
    }

    fn look(&mut self) -> Turn {
        // Without a waiter the lock is this process's own, and a test is running.
        let Some(waiter) = self.waiter else {
            return Turn::NotYet;
        };
        if !has_ended(waiter) {
            return Turn::NotYet;
        }
        self.waiter = None;
        match waitpid(waiter, None) {
            Ok(WaitStatus::Exited(_, 0)) => Turn::Granted,
            status => Turn::Failed(format!(
                "waiting for serial group {} ended with {status:?}",
                self.name
            )),
        }
    }
}

fn wait_for(file: &File) -> nix::Result<Pid> {
    let wait = |parent| {
        become_leader(parent);
        default_signals();
        if file.lock().is_err() {
            std::process::exit(1);
        }
    };
    // SAFETY: the harness has one thread.
    unsafe { fork(wait) }
}

/// How long a test waits for the others of its group before that is a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Waits for a group's lock; dropping the file gives it back.
pub(crate) fn lock(name: &str) -> Result<File, String> {
    let file = open(name)?;
    wait_within(name, &file, slow_after()?, LONGEST_WAIT)?;
    Ok(file)
}

/// Waits for a group's lock, and says so if that takes longer than `notice`.
fn wait_within(name: &str, file: &File, notice: Duration, limit: Duration) -> Result<(), String> {
    let lock = |limit| lock_within(file, limit).map_err(|error| cannot_lock(name, &error));
    let what = || {
        let path = record::serial_folder().unwrap_or_default();
        let path = path.join(format!("{name}.lock"));
        format!(
            "serial group {name}, of which another test runs (it holds {})",
            path.display()
        )
    };
    if lock(notice)? {
        return Ok(());
    }
    stderr(&format!("waiting for {}\n", what()));
    if lock(limit)? {
        return Ok(());
    }
    Err(format!("waited {limit:?} for {}", what()))
}

/// Says whether the file could be locked by then. If not, a thread goes on waiting, which keeps
/// nothing: the lock is the open file's, and goes when nobody has that open any more.
fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => return Ok(true),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let same = file.try_clone()?;
    let locked = in_thread_within("serial lock", limit, move || same.lock())?;
    locked.transpose().map(|locked| locked.is_some())
}

fn open(name: &str) -> Result<File, String> {
    let folder = record::serial_folder().ok_or_else(|| {
        format!("serial group {name} has no place for its lock: set KATA_TEST_RECORD_DIR")
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

/// Opened for reading, which is enough for flock(2): the file may be another user's.
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

fn cannot_lock(name: &str, error: &io::Error) -> String {
    format!("serial group {name} cannot be locked: {error}; set KATA_TEST_RECORD_DIR")
}

#[cfg(test)]
mod tests {
    //! Scope: the end of a wait. Tests that wait for each other are in the hostile sample.

    use super::*;

    #[test]
    fn a_wait_has_an_end_and_names_the_group() {
        let temp = tempfile::NamedTempFile::new().expect("a file");
        temp.as_file().lock().expect("a lock");
        let other = File::open(temp.path()).expect("the same file");
        let short = Duration::from_millis(20);
        let problem = wait_within("disks", &other, short, short).expect_err("no lock");
        assert!(
            problem.starts_with("waited 20ms for serial group disks"),
            "{problem}"
        );
        temp.as_file().unlock().expect("unlocked");
        assert_eq!(wait_within("disks", &other, short, LONGEST_WAIT), Ok(()));
    }
}
