//! The processes that run here, and whatever they leave to this init.
//!
//! One thread reaps them all, since an orphan can come at any time; whoever has started a child hears
//! of its end from that thread.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::Exit;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::fatal::{Fatal, OrFatal};

/// The children that somebody waits for, and how those ended that have.
type Table = HashMap<i32, Option<Exit>>;

/// The processes that were started here.
#[derive(Default)]
pub(crate) struct Children {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Children {
    /// Starts to reap, for as long as the guest runs.
    pub(crate) fn reaped() -> Result<Arc<Self>, Fatal> {
        let children = Arc::new(Self::default());
        let reaped = Arc::clone(&children);
        thread::Builder::new()
            .name("reaper".into())
            .spawn(move || reaped.reap())
            .or_fatal(|| "start the thread that reaps".into())?;
        Ok(children)
    }

    /// Starts a child. While this goes on nothing is reaped: a child whose program cannot be executed
    /// is awaited by the call itself.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Child, Pid)> {
        let mut table = self.lock();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        table.insert(pid, None);
        self.changed.notify_all();
        Ok((child, Pid::from_raw(pid)))
    }

    /// Waits for the end of a child that was started here. `None`: it still runs.
    pub(crate) fn wait(&self, pid: Pid, timeout: Duration) -> Option<Exit> {
        let runs = |table: &mut Table| matches!(table.get(&pid.as_raw()), Some(None));
        let (mut table, _) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, runs)
            .unwrap_or_else(PoisonError::into_inner);
        let exit = table.get(&pid.as_raw()).copied().flatten()?;
        table.remove(&pid.as_raw());
        Some(exit)
    }

    /// Kills what is left behind, if nobody waits for a child.
    pub(crate) fn sweep(&self) {
        self.sweep_by(|| {
            // From init this reaches every process but itself.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        });
    }

    fn sweep_by(&self, kill_all: impl FnOnce()) {
        let table = self.lock();
        if table.is_empty() {
            // Under the lock, so that none is started which nobody waits for yet.
            kill_all();
        }
    }

    fn reap(&self) {
        loop {
            // Only looked at here, and taken below, when nobody is about to start one.
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
        let mut table = self.lock();
        let exit = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
            // Whoever started it has awaited it already.
            _ => return,
        };
        if let Some(known) = table.get_mut(&pid.as_raw()) {
            *known = Some(exit);
            self.changed.notify_all();
        }
    }

    /// Without children there are no orphans to come either.
    fn wait_for_a_child(&self) {
        let none = |table: &mut Table| table.values().all(Option::is_some);
        drop(self.changed.wait_while(self.lock(), none));
    }

    /// A thread that panics ends the guest, so that nobody is left to meet a poisoned table.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn nothing_is_started_while_what_is_left_is_killed() {
        let children = Children::default();
        let (started, hears) = channel();
        thread::scope(|scope| {
            let children = &children;
            children.sweep_by(|| {
                scope.spawn(move || {
                    let spawned = children.spawn(&mut Command::new("true"));
                    let (mut child, _) = spawned.unwrap();
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
    fn while_a_child_is_awaited_nothing_is_killed() {
        let children = Children::default();
        let (mut child, _) = children.spawn(&mut Command::new("true")).unwrap();
        children.sweep_by(|| panic!("the child would have been killed"));
        child.wait().unwrap();
    }
}
