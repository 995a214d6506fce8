//! The thread that forks all children.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::unistd::{Pid, getpid};

use super::parent_death::set_parent_death_signal;

type Job = (Command, Sender<io::Result<Child>>);

/// The channel to the thread, with the pid of the process that started it: a forked child inherits
/// the value but not the thread.
static SPAWNER: Mutex<Option<(Pid, Sender<Job>)>> = Mutex::new(None);

/// Starts a command as a child that gets SIGKILL when this process ends.
///
/// # Errors
/// If the command cannot be executed.
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    set_parent_death_signal(&mut command);
    let (answer, answered) = channel();
    spawner()?
        .send((command, answer))
        .map_err(|_| io::Error::other("the spawning thread is gone"))?;
    answered
        .recv()
        .map_err(|_| io::Error::other("the spawning thread is gone"))?
}

fn spawner() -> io::Result<Sender<Job>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*spawner {
        Some((owner, jobs)) if *owner == getpid() => Ok(jobs.clone()),
        _ => {
            let (jobs, inbox) = channel::<Job>();
            thread::Builder::new()
                .name("spawner".into())
                .spawn(move || {
                    for (mut command, answer) in inbox {
                        // The caller waits for the answer.
                        let _ = answer.send(command.spawn());
                    }
                })?;
            *spawner = Some((getpid(), jobs.clone()));
            Ok(jobs)
        }
    }
}
