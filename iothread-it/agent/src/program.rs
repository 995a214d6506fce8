//! Runs a program for the host and forwards its output.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use guest_agent::protocol::{Exit, Failure, FailureKind, Notice, Program};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::attached::Entered;
use crate::children::Children;
use crate::collect::Collector;
use crate::failure::OrFailure;
use crate::follow::Follow;
use crate::kernel_log::KernelLog;
use crate::output::Outputs;
use crate::spawn::spawn;
use crate::system_state::SystemState;

/// The time between SIGTERM and SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// The time limit for killed processes to end. It takes longer only if one is blocked in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

impl Children {
    /// Runs a program to its end.
    pub(crate) fn run(
        &self,
        program: &Program,
        attached: Option<&Entered<'_>>,
        send: &(dyn Fn(Notice) + Sync),
    ) -> Result<Exit, Failure> {
        let follow = program.follow.as_deref().map(Follow::start).transpose();
        let follow = follow.or_failure(|| "follow a folder".into())?;
        let collector = program.collect.as_ref().map(Collector::start).transpose();
        let collector = collector.or_failure(|| "make a folder for files".into())?;
        let mut log = KernelLog::start();
        let before = SystemState::read(program.user.is_none());
        if program.attached {
            // Outside of a package the caller's working directory is not in the guest.
            let _ = std::fs::create_dir_all(&program.directory);
        }
        let start = || {
            spawn(program).map(|spawned| {
                let pid = spawned.pid;
                (spawned, pid)
            })
        };
        let started = self.spawn(start);
        let (spawned, ended) = started.or_failure(|| format!("run {}", program.path))?;
        let pid = spawned.pid;
        if let Some(attached) = attached {
            attached.started(pid, spawned.input);
            send(Notice::Started);
        }
        let is_closed = |stream| attached.is_some_and(|attached| attached.is_closed(stream));
        let mut outputs = Outputs::new(spawned.outputs, program.output_limit, &is_closed, send);
        // Root may crash the machine: what it wrote before is the reason.
        if attached.is_some() || program.user.is_none() {
            outputs = outputs.without_rest();
        }
        let exit = thread::scope(|scope| {
            let following = follow.as_ref().map(|follow| {
                let mut before = || {
                    if let Some(log) = &mut log {
                        log.send_new(send);
                    }
                    if let Some(collector) = &collector {
                        collector.send_ended(send);
                    }
                };
                scope.spawn(move || follow.until_stopped(&mut before, send))
            });
            let mut wait = |time: Duration| {
                // No deadline that a clock can tell is that of a program without one.
                let deadline = Instant::now().checked_add(time);
                match outputs.forward(ended.as_fd(), deadline) {
                    true => self.take_exit(pid),
                    false => None,
                }
            };
            let exit = wait(Duration::from_millis(program.timeout_ms));
            if exit.is_none() && !end(pid, &mut wait) {
                self.give_up(pid);
            }
            // Processes that are left keep the pipes open, and may write to the files.
            if self.sweep(KILL_TIMEOUT) {
                send(Notice::Left("processes".to_owned()));
            }
            outputs.finish(KILL_TIMEOUT);
            if let (Some(follow), Some(following)) = (&follow, following) {
                follow.stop();
                let _ = following.join();
            }
            exit
        });
        if let Some(log) = &mut log {
            log.send_new(send);
        }
        if let Some(collector) = &collector {
            collector.send_rest(send);
        }
        before.changes().for_each(|what| send(Notice::Left(what)));
        exit.ok_or_else(|| Failure {
            kind: FailureKind::TimedOut,
            message: format!(
                "{} was still running after {} ms and was killed",
                program.path, program.timeout_ms
            ),
        })
    }
}

/// Ends a session that is late. Returns whether its leader has ended.
fn end(leader: Pid, wait: &mut dyn FnMut(Duration) -> Option<Exit>) -> bool {
    let _ = killpg(leader, Signal::SIGTERM);
    if wait(GRACE_PERIOD).is_some() {
        return true;
    }
    let _ = killpg(leader, Signal::SIGKILL);
    wait(KILL_TIMEOUT).is_some()
}
