//! Runs a program for the host and forwards its output.
#![expect(
    unsafe_code,
    reason = "code between fork and exec can only be given through pre_exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::{Exit, Failure, FailureKind, Notice, Program, Stream, User};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid, setsid};

use crate::attached::Entered;
use crate::children::Children;
use crate::failure;
use crate::follow::Follow;
use crate::output::forward;
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
        let follow = follow.map_err(|error| failure::io("follow a folder", &error))?;
        let before = SystemState::read(program.user.is_none());
        let what = format!("run {}", program.path);
        let (mut child, pid) = self
            .spawn(&mut command(program))
            .map_err(|error| failure::io(&what, &error))?;
        if let Some(attached) = attached {
            attached.started(pid, child.stdin.take());
            send(Notice::Started);
        }
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let limit = program.output_limit;
        let is_closed = |stream| attached.is_some_and(|attached| attached.is_closed(stream));
        thread::scope(|scope| {
            let stream = Stream::Stdout;
            scope.spawn(move || forward(stdout, stream, limit, &|| is_closed(stream), send));
            let stream = Stream::Stderr;
            scope.spawn(move || forward(stderr, stream, limit, &|| is_closed(stream), send));
            let following = follow
                .as_ref()
                .map(|follow| scope.spawn(|| follow.until_stopped(send)));
            let timeout = Duration::from_millis(program.timeout_ms);
            let exit = self.wait(pid, timeout);
            if exit.is_none() {
                self.end(pid);
            }
            // Processes that are left keep the pipes open, and may write to the files.
            if self.sweep(KILL_TIMEOUT) {
                send(Notice::Left("processes".to_owned()));
            }
            if let (Some(follow), Some(following)) = (&follow, following) {
                follow.stop();
                let _ = following.join();
            }
            before.changes().for_each(|what| send(Notice::Left(what)));
            exit.ok_or_else(|| Failure {
                kind: FailureKind::TimedOut,
                message: format!(
                    "{} was still running after {} ms and was killed",
                    program.path, program.timeout_ms
                ),
            })
        })
    }

    /// Ends a session that is late.
    fn end(&self, leader: Pid) {
        let _ = killpg(leader, Signal::SIGTERM);
        if self.wait(leader, GRACE_PERIOD).is_none() {
            let _ = killpg(leader, Signal::SIGKILL);
            let _ = self.wait(leader, KILL_TIMEOUT);
        }
    }
}

fn command(program: &Program) -> Command {
    let environment = program.environment.iter();
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .env_clear()
        .envs(environment.map(|(name, value)| (name, value)))
        .current_dir(&program.directory)
        .stdin(match program.attached {
            true => Stdio::piped(),
            false => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let user = program.user;
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(move || isolate(user)) };
    command
}

/// Moves the calling process to a new session, and sets its user. The agent has no inheritable and no
/// ambient capabilities, so another user than root has none. Such a user cannot mount, and needs no
/// mount namespace: its end waits for all CPUs.
fn isolate(user: Option<User>) -> io::Result<()> {
    setsid()?;
    let Some(User { uid, gid }) = user else {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        return Ok(mount(
            None::<&str>,
            "/",
            None::<&str>,
            private,
            None::<&str>,
        )?);
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}
