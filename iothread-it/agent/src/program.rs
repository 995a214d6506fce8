//! Runs a program for the host and forwards its output.
#![expect(
    unsafe_code,
    reason = "code between fork and exec can only be given through pre_exec"
)]

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::{Bytes, Exit, Failure, FailureKind, Notice, Program, Stream};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

use crate::children::Children;
use crate::failure;
use crate::follow::Follow;

/// The maximum size of a notice, in bytes.
const CHUNK: usize = 16 * 1024;

/// The time limit for a killed program to end. It takes longer only if it is blocked in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

impl Children {
    /// Runs a program to its end.
    pub(crate) fn run(
        &self,
        program: &Program,
        send: &(dyn Fn(Notice) + Sync),
    ) -> Result<Exit, Failure> {
        let follow = program.follow.as_deref().map(Follow::start).transpose();
        let follow = follow.map_err(|error| failure::io("follow a folder", &error))?;
        let what = format!("run {}", program.path);
        let (mut child, pid) = self
            .spawn(&mut command(program))
            .map_err(|error| failure::io(&what, &error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            scope.spawn(|| forward(stdout, Stream::Stdout, send));
            scope.spawn(|| forward(stderr, Stream::Stderr, send));
            let following = follow
                .as_ref()
                .map(|follow| scope.spawn(|| follow.until_stopped(send)));
            let timeout = Duration::from_millis(program.timeout_ms);
            let exit = self.wait(pid, timeout);
            if exit.is_none() {
                let group = nix::unistd::Pid::from_raw(-pid.as_raw());
                let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
                let _ = self.wait(pid, KILL_TIMEOUT);
            }
            // Processes that are left keep the pipes open, and may write to the files.
            self.sweep();
            if let (Some(follow), Some(following)) = (&follow, following) {
                follow.stop();
                let _ = following.join();
            }
            exit.ok_or_else(|| Failure {
                kind: FailureKind::TimedOut,
                message: format!(
                    "{} was still running after {} ms and was killed",
                    program.path, program.timeout_ms
                ),
            })
        })
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
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let user = program.user;
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(move || isolate(user)) };
    command
}

/// Moves the calling process to a new session and mount namespace, and sets its user.
fn isolate(user: Option<u32>) -> io::Result<()> {
    setsid()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    if let Some(id) = user {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        setgroups(&[gid])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    Ok(())
}

/// Sends what is read from a pipe until its last writer closes it.
fn forward(pipe: Option<impl Read>, stream: Stream, send: &(dyn Fn(Notice) + Sync)) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; CHUNK];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => send(Notice::Output {
                stream,
                bytes: Bytes(buffer[..length].to_vec()),
            }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
