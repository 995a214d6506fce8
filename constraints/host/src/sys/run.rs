//! Runs a program for its output, under a deadline.
#![expect(
    unsafe_code,
    reason = "what happens between fork and exec has no safe form"
)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};

use super::child::{become_leader, ending};
use super::file::set_nonblocking;
use super::pipe::pipe;
use super::wait::{Child, has_ended, is_readable};

/// The most bytes of a program's output that are kept.
const LARGEST: usize = 16 << 20;
/// The most bytes that are read at once: as many as a pipe can hold, so that all that was printed before is
/// read, and a program that prints without end blocks nothing.
const AT_ONCE: usize = 1 << 20;

/// How a program that was run ended.
#[derive(Debug)]
pub enum Ran {
    /// It ended: whether it succeeded, its exit status as text, and its output.
    Ended {
        success: bool,
        how: String,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    /// It could not be started.
    NotStarted(io::Error),
    /// It was killed at its deadline, with its process group.
    TooLate,
    /// It was killed in the same way because the caller has to stop.
    Stopped,
}

/// Runs a program with `LC_ALL=C`, otherwise like [`command_within`].
pub fn run_within(limit: Duration, program: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C");
    command_within(limit, command)
}

/// Runs a command without input, in a process group.
///
/// The command has ended when its first process has, even if a daemon still has its output. Then, or at the
/// deadline, the rest of the group is killed. If this process dies, the first process is killed.
pub fn command_within(limit: Duration, command: Command) -> Ran {
    command_until(limit, None, command)
}

/// Runs a command as [`command_within`] does, and kills it as soon as `stop` can be read.
pub fn command_until(limit: Duration, stop: Option<BorrowedFd<'_>>, command: Command) -> Ran {
    let deadline = Instant::now() + limit;
    match start(command) {
        Ok((child, outputs)) => finish(child, outputs, deadline, stop),
        Err(error) => Ran::NotStarted(error),
    }
}

/// Makes the process of a command the leader of a process group, and lets it be killed when the thread
/// that starts it ends.
pub fn lead_group(command: &mut Command) {
    let parent = getpid();
    // SAFETY: the closure makes system calls only.
    unsafe {
        command.pre_exec(move || {
            become_leader(parent);
            Ok(())
        });
    }
}

/// Starts a command, and returns it with its standard output and error.
fn start(mut command: Command) -> io::Result<(Pid, [Output; 2])> {
    let (stdout, out) = pipe()?;
    let (stderr, err) = pipe()?;
    let outputs = [Output::of(stdout)?, Output::of(stderr)?];
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    lead_group(&mut command);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok((Pid::from_raw(pid), outputs))
}

fn finish(
    pid: Pid,
    mut outputs: [Output; 2],
    deadline: Instant,
    stop: Option<BorrowedFd<'_>>,
) -> Ran {
    let child = Child::of(pid);
    let given_up = loop {
        if has_ended(pid) {
            break None;
        }
        if stop.is_some_and(is_readable) {
            break Some(Ran::Stopped);
        }
        if Instant::now() >= deadline {
            break Some(Ran::TooLate);
        }
        let open = outputs.iter().filter_map(Output::fd);
        let watched: Vec<_> = open.chain(stop).collect();
        child.wait_or_read(&watched, deadline);
        outputs.iter_mut().for_each(Output::read);
    };
    let status = child.kill_and_reap();
    if let Some(given_up) = given_up {
        return given_up;
    }
    outputs.iter_mut().for_each(Output::read);
    let [stdout, stderr] = outputs.map(|output| output.bytes);
    Ran::Ended {
        success: matches!(status, Some(WaitStatus::Exited(_, 0))),
        how: ending(status),
        stdout,
        stderr,
    }
}

/// One of a program's outputs.
struct Output {
    /// `None` when the other end has been closed.
    pipe: Option<File>,
    bytes: Vec<u8>,
}

impl Output {
    fn of(pipe: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(Self {
            pipe: Some(pipe.into()),
            bytes: Vec::new(),
        })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads the available bytes.
    fn read(&mut self) {
        let mut chunk = [0; 8192];
        for _ in 0..AT_ONCE / chunk.len() {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let room = LARGEST.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that prints without end always has output ready.
    #[test]
    fn a_stop_ends_a_program_that_prints_without_end() {
        let (stop, write) = pipe().expect("a pipe");
        drop(write);
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do echo more; done"]);
        let ran = command_until(Duration::from_secs(60), Some(stop.as_fd()), command);
        assert!(matches!(ran, Ran::Stopped), "{ran:?}");
    }
}
