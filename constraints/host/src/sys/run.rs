//! A program run for what it prints, under a deadline.
#![expect(
    unsafe_code,
    reason = "what happens between fork and exec has no safe form"
)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid};

use super::child::{become_leader, readable};
use super::file::keep_over_exec;
use super::pipe::pipe;

/// What a program prints beyond this is not read.
const LARGEST: usize = 16 << 20;

/// How a program that was run ended.
#[derive(Debug)]
pub enum Ran {
    /// By itself: whether it succeeded, how in words, and what it printed.
    Ended {
        success: bool,
        how: String,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    /// Not at all: it could not be started.
    NotStarted(io::Error),
    /// It was killed at its deadline, with all that it had started.
    TooLate,
}

/// Runs a program without input, in a process group and, as far as texts go, in no language.
///
/// When the deadline comes, or this process dies, the group is killed.
pub fn run_within(limit: Duration, program: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C");
    command_within(limit, command)
}

/// Runs a command without input, in a process group.
///
/// When the deadline comes, or this process dies, the group is killed.
pub fn command_within(limit: Duration, command: Command) -> Ran {
    let deadline = Instant::now() + limit;
    match start(command) {
        Ok(running) => running.end(deadline),
        Err(error) => Ran::NotStarted(error),
    }
}

struct Running {
    child: std::process::Child,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// Closed by the kernel when the last process of the program has ended.
    alive: OwnedFd,
}

fn start(mut command: Command) -> io::Result<Running> {
    let (stdout, out) = pipe()?;
    let (stderr, err) = pipe()?;
    let (alive, held) = pipe()?;
    let parent = getpid();
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let keep = held.as_raw_fd();
    // SAFETY: the closure makes system calls only, and `keep` is open until the child has its copy.
    unsafe {
        command.pre_exec(move || {
            become_leader(parent);
            keep_over_exec(std::os::fd::BorrowedFd::borrow_raw(keep))?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    drop(held);
    Ok(Running {
        child,
        stdout,
        stderr,
        alive,
    })
}

impl Running {
    fn end(mut self, deadline: Instant) -> Ran {
        let stdout = self.collect(deadline);
        if let Some([stdout, stderr]) = stdout
            && let Ok(status) = self.child.wait()
        {
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("left with exit code {code}"),
                (None, Some(signal)) => format!("died of signal {signal}"),
                (None, None) => "ended".to_owned(),
            };
            return Ran::Ended {
                success: status.success(),
                how,
                stdout,
                stderr,
            };
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // A process that hangs inside the kernel outlives SIGKILL: it is not waited for.
        let gone = Instant::now() + Duration::from_millis(500);
        if readable(self.alive.as_fd(), gone) {
            let _ = self.child.wait();
        }
        Ran::TooLate
    }

    /// Reads both outputs until the last process has ended; `None` at the deadline.
    fn collect(&self, deadline: Instant) -> Option<[Vec<u8>; 2]> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

        let output = |fd| (fd, Vec::new(), true);
        let mut outputs = [output(&self.stdout), output(&self.stderr)];
        while outputs.iter().any(|(_, _, open)| *open) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = PollTimeout::try_from(left + Duration::from_millis(1));
            let open = outputs.iter_mut().filter(|(_, _, open)| *open);
            let (mut fds, open): (Vec<_>, Vec<_>) = open
                .map(|output| (PollFd::new(output.0.as_fd(), PollFlags::POLLIN), output))
                .unzip();
            if poll(&mut fds, left.unwrap_or(PollTimeout::MAX)).is_err() {
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            for ((fd, bytes, open), ready) in open.into_iter().zip(ready) {
                if ready {
                    *open = read_some(fd, bytes)?;
                }
            }
        }
        readable(self.alive.as_fd(), deadline).then(|| outputs.map(|(_, bytes, _)| bytes))
    }
}

/// Reads what is there; says whether more may come.
fn read_some(fd: &OwnedFd, bytes: &mut Vec<u8>) -> Option<bool> {
    let mut chunk = [0; 8192];
    let mut file = File::from(fd.try_clone().ok()?);
    match file.read(&mut chunk) {
        Ok(0) => Some(false),
        Ok(count) => {
            let room = LARGEST.saturating_sub(bytes.len());
            bytes.extend_from_slice(&chunk[..count.min(room)]);
            Some(true)
        }
        Err(error) => Some(error.kind() == io::ErrorKind::Interrupted),
    }
}
