//! Serial groups: of a group's tests, one at a time runs, across processes.
//!
//! Each group has a lock file below the record folder, locked by flock(2). The harness holds the
//! lock, not the test's process, which closes the file before anything else: no process that a test
//! leaves behind can keep a lock, and the kernel frees the lock of a killed harness. The kernel
//! decides the order among processes.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

mod lock;

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::clock::later;
use crate::sys::{self, become_leader, default_signals, fork, has_ended};
pub(crate) use lock::lock;
pub(super) use lock::longest_wait;
use lock::{cannot_lock, open, waiting_for};

/// The groups of which this process runs a test or waits for the lock.
pub(super) struct Serial {
    groups: Vec<Group>,
    /// After how long a wait is announced.
    notice: Duration,
    /// After how long a wait fails.
    limit: Duration,
}

struct Group {
    name: &'static str,
    file: File,
    state: State,
}

enum State {
    /// A test runs, and this process has the lock.
    Held,
    /// This process has the lock, and no test runs yet.
    Free,
    /// Another process has the lock.
    Waiting {
        /// A child that waits for the lock: its end is an event for the run loop. It shares the open
        /// file, so what it locks is locked for this process too.
        waiter: Pid,
        since: Instant,
        announced: bool,
    },
    /// The wait has failed, and so do all tests of this group.
    Failed(String),
}

/// Whether a test of a group may start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may, and this process has the group's lock.
    Granted,
    /// Another test of the group runs, in this process or another.
    NotYet,
    Failed(String),
}

impl Serial {
    pub(super) fn new(notice: Duration, limit: Duration) -> Self {
        Self {
            groups: Vec::new(),
            notice,
            limit,
        }
    }

    /// Tries to take a group's lock.
    pub(super) fn ask(&mut self, name: &'static str, now: Instant) -> Turn {
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.poll(),
            None => match Group::open(name, now) {
                Ok((group, turn)) => {
                    self.groups.push(group);
                    turn
                }
                Err(problem) => Turn::Failed(problem),
            },
        }
    }

    /// Releases a group's lock, also for processes that share the open file.
    pub(super) fn release(&mut self, name: &'static str) {
        self.groups.retain(|group| {
            let keep = group.name != name;
            if !keep {
                let _ = sys::unlock(&group.file);
            }
            keep
        });
    }

    /// When the next notice or failure of a wait is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = |group: &Group| match group.state {
            State::Waiting {
                since, announced, ..
            } => {
                let wait = if announced { self.limit } else { self.notice };
                Some(later(since, wait.min(self.limit)))
            }
            _ => None,
        };
        self.groups.iter().filter_map(due).min()
    }

    /// Ends the waits that have taken too long, and returns a notice for each that is announced now.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<String> {
        let mut notices = Vec::new();
        for group in &mut self.groups {
            group.reap();
            let State::Waiting {
                waiter,
                since,
                announced,
            } = &mut group.state
            else {
                continue;
            };
            let waited = now.saturating_duration_since(*since);
            if waited >= self.limit {
                end_waiter(*waiter);
                let what = waiting_for(group.name, &group.file);
                // The waiter may have got the lock just before its end, for the file that both share.
                let _ = sys::unlock(&group.file);
                group.state = State::Failed(format!("timed out after {:?} {what}", self.limit));
            } else if waited >= self.notice && !*announced {
                *announced = true;
                notices.push(waiting_for(group.name, &group.file));
            }
        }
        notices
    }

    /// Excludes a time during which this process was stopped from all waits.
    pub(super) fn pause(&mut self, paused: Duration) {
        for group in &mut self.groups {
            if let State::Waiting { since, .. } = &mut group.state {
                *since = later(*since, paused);
            }
        }
    }

    /// The descriptors that a test's process must close.
    pub(super) fn fds(&self) -> Vec<RawFd> {
        let fds = self.groups.iter().map(|group| group.file.as_raw_fd());
        fds.collect()
    }

    /// The children that wait for locks. They belong to no test.
    pub(super) fn waiters(&self) -> impl Iterator<Item = Pid> {
        self.groups.iter().filter_map(|group| match group.state {
            State::Waiting { waiter, .. } => Some(waiter),
            _ => None,
        })
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.waiters().for_each(end_waiter);
    }
}

impl Group {
    fn open(name: &'static str, now: Instant) -> Result<(Self, Turn), String> {
        let file = open(name)?;
        let (state, turn) = match sys::try_lock(&file) {
            Ok(true) => (State::Held, Turn::Granted),
            Ok(false) => {
                let waiter = start_waiter(&file).map_err(|errno| {
                    format!("cannot fork to wait for serial group {name}: {errno}")
                })?;
                let state = State::Waiting {
                    waiter,
                    since: now,
                    announced: false,
                };
                (state, Turn::NotYet)
            }
            Err(error) => return Err(cannot_lock(name, &error)),
        };
        Ok((Self { name, file, state }, turn))
    }

    fn poll(&mut self) -> Turn {
        self.reap();
        match &self.state {
            State::Free => {
                self.state = State::Held;
                Turn::Granted
            }
            State::Failed(problem) => Turn::Failed(problem.clone()),
            State::Held | State::Waiting { .. } => Turn::NotYet,
        }
    }

    /// Ends the wait if its child has ended.
    fn reap(&mut self) {
        let State::Waiting { waiter, .. } = self.state else {
            return;
        };
        if has_ended(waiter) {
            self.state = match waitpid(waiter, None) {
                Ok(WaitStatus::Exited(_, 0)) => State::Free,
                status => {
                    let _ = sys::unlock(&self.file);
                    State::Failed(format!(
                        "the wait for serial group {} failed: {status:?}",
                        self.name
                    ))
                }
            };
        }
    }
}

fn start_waiter(file: &File) -> nix::Result<Pid> {
    let wait = |parent| {
        become_leader(parent);
        default_signals();
        if sys::lock(file).is_err() {
            std::process::exit(1);
        }
    };
    // SAFETY: the harness has one thread.
    unsafe { fork(wait) }
}

fn end_waiter(waiter: Pid) {
    let _ = kill(waiter, Signal::SIGKILL);
    let _ = waitpid(waiter, None);
}

#[cfg(test)]
mod tests {
    //! Scope: notice and end of a wait, on made-up times.

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_is_announced_once_and_fails_at_its_deadline() {
        let temp = tempfile::NamedTempFile::new().expect("a file");
        sys::lock(temp.as_file()).expect("a lock");
        let file = File::open(temp.path()).expect("the same file");
        // The child makes system calls only.
        let waiter = start_waiter(&file).expect("a child");
        let start = Instant::now();
        let mut serial = Serial::new(60 * SECOND, 3600 * SECOND);
        serial.groups.push(Group {
            name: "disks",
            file,
            state: State::Waiting {
                waiter,
                since: start,
                announced: false,
            },
        });
        assert_eq!(serial.ask("disks", start), Turn::NotYet);
        assert_eq!(serial.next(), Some(start + 60 * SECOND));
        assert_eq!(serial.overdue(start + 59 * SECOND), [""; 0]);
        let notices = serial.overdue(start + 60 * SECOND);
        let expected = format!(
            "waiting for serial group disks: process {} (",
            std::process::id()
        );
        assert!(
            notices.len() == 1 && notices[0].starts_with(&expected),
            "{notices:?}"
        );
        assert_eq!(serial.overdue(start + 61 * SECOND), [""; 0]);
        assert_eq!(serial.next(), Some(start + 3600 * SECOND));
        serial.pause(10 * SECOND);
        assert_eq!(serial.overdue(start + 3600 * SECOND), [""; 0]);
        assert_eq!(serial.ask("disks", start), Turn::NotYet);
        assert_eq!(serial.overdue(start + 3610 * SECOND), [""; 0]);
        let Turn::Failed(problem) = serial.ask("disks", start) else {
            panic!("the wait goes on")
        };
        let expected = "timed out after 3600s waiting for serial group disks: process ";
        assert!(problem.starts_with(expected), "{problem}");
        assert_eq!((serial.next(), serial.waiters().count()), (None, 0));
    }
}
