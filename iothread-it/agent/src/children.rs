//! Child processes, and the orphans that init inherits.
//!
//! One thread reaps all of them, since an orphan can end at any time, and passes the exit status of a child
//! to the thread that started it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::{Exit, Failure};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::failure::{OrFailure, bad_request};
use crate::fatal::{Fatal, OrFatal};
use crate::sync::lock;

/// The children that a thread waits for.
type Table = HashMap<i32, Known>;

/// What is known of a child.
struct Known {
    exit: Option<Exit>,
    /// Readable once it has ended.
    ended: Arc<EventFd>,
}

/// The processes that this agent started.
#[derive(Default)]
pub(crate) struct Children {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Children {
    /// Starts the thread that reaps.
    pub(crate) fn start_reaper() -> Result<Arc<Self>, Fatal> {
        let children = Arc::new(Self::default());
        let reaper = Arc::clone(&children);
        thread::Builder::new()
            .name("reaper".into())
            .spawn(move || reaper.reap())
            .or_fatal(|| "start the thread that reaps".into())?;
        Ok(children)
    }

    /// Starts a child. Nothing is reaped meanwhile: `start` itself waits for a child whose program cannot be
    /// executed. Returns an event as well, which is readable once the child has ended.
    pub(crate) fn spawn<T>(
        &self,
        start: impl FnOnce() -> io::Result<(T, Pid)>,
    ) -> io::Result<(T, Arc<EventFd>)> {
        let ended = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let mut table = lock(&self.table);
        let (child, pid) = start()?;
        let known = Known {
            exit: None,
            ended: Arc::clone(&ended),
        };
        table.insert(pid.as_raw(), known);
        self.changed.notify_all();
        Ok((child, ended))
    }

    /// Returns how a child has ended, once. `None`: it still runs.
    pub(crate) fn take_exit(&self, pid: Pid) -> Option<Exit> {
        let mut table = lock(&self.table);
        let exit = table.get(&pid.as_raw())?.exit?;
        table.remove(&pid.as_raw());
        Some(exit)
    }

    /// Waits no longer for a child that was killed and does not end: others can be killed without it.
    pub(crate) fn give_up(&self, pid: Pid) {
        lock(&self.table).remove(&pid.as_raw());
    }

    /// Sends a signal to the group that a child leads, unless the child has ended.
    pub(crate) fn signal(&self, pid: Pid, signal: i32) -> Result<(), Failure> {
        let signal = Signal::try_from(signal)
            .map_err(|_| bad_request(format!("there is no signal {signal}")))?;
        // Nothing is reaped meanwhile, so its id is not that of another process.
        let table = lock(&self.table);
        match table.get(&pid.as_raw()) {
            Some(known) if known.exit.is_none() => {
                killpg(pid, signal).or_failure(|| format!("send {signal}"))
            }
            _ => Ok(()),
        }
    }

    /// Kills all other processes and waits for their end, unless a thread waits for a child. Returns
    /// whether one was running.
    pub(crate) fn sweep(&self, timeout: Duration) -> bool {
        let mut were_left = false;
        self.sweep_by(|| {
            were_left = has_orphans();
            // Sent by init, this reaches every other process, also those that the kernel started.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        });
        if were_left {
            // The reaper reports each end.
            let are_left = |_: &mut Table| has_orphans();
            let table = lock(&self.table);
            drop(self.changed.wait_timeout_while(table, timeout, are_left));
        }
        were_left
    }

    fn sweep_by(&self, kill_all: impl FnOnce()) {
        let table = lock(&self.table);
        if table.is_empty() {
            // Under the lock, so that no child is started meanwhile.
            kill_all();
        }
    }

    fn reap(&self) {
        loop {
            // Reaped below, under the lock.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            match waitid(Id::All, flags) {
                Ok(status) => self.take(status),
                Err(Errno::ECHILD) => self.wait_for_a_child(),
                Err(_) => {}
            }
        }
    }

    fn take(&self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        let mut table = lock(&self.table);
        let exit = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
            // `spawn` has reaped it already.
            _ => return,
        };
        if let Some(known) = table.get_mut(&pid.as_raw()) {
            known.exit = Some(exit);
            let _ = known.ended.write(1);
        }
        self.changed.notify_all();
    }

    /// Without children, no orphans can appear.
    fn wait_for_a_child(&self) {
        let none = |table: &mut Table| table.values().all(|known| known.exit.is_some());
        drop(self.changed.wait_while(lock(&self.table), none));
    }
}

/// Reaps orphans that have ended, and returns whether others run. No thread may be waiting for a child.
fn has_orphans() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Err(Errno::ECHILD) => return false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::mpsc::channel;

    use super::*;

    fn spawn(children: &Children, program: &str) -> Child {
        let start = || {
            let child = Command::new(program).spawn()?;
            let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
            Ok((child, pid))
        };
        children.spawn(start).unwrap().0
    }

    #[test]
    fn no_child_is_started_during_a_sweep() {
        let children = Children::default();
        let (started, hears) = channel();
        thread::scope(|scope| {
            let children = &children;
            children.sweep_by(|| {
                scope.spawn(move || {
                    let mut child = spawn(children, "true");
                    started.send(()).unwrap();
                    child.wait().unwrap();
                });
                let early = hears.recv_timeout(Duration::from_millis(300));
                assert!(early.is_err(), "it would have been killed too");
            });
            let after = hears.recv_timeout(Duration::from_secs(30));
            assert!(after.is_ok());
        });
    }

    #[test]
    fn a_sweep_kills_nothing_while_a_child_runs() {
        let children = Children::default();
        let mut child = spawn(&children, "true");
        children.sweep_by(|| panic!("the child would have been killed"));
        child.wait().unwrap();
    }

    #[test]
    fn a_child_that_was_given_up_does_not_prevent_a_sweep() {
        let children = Children::default();
        let mut child = spawn(&children, "true");
        children.give_up(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        let mut has_swept = false;
        children.sweep_by(|| has_swept = true);
        assert!(has_swept);
        child.wait().unwrap();
    }
}
