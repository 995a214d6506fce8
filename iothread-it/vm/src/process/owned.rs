//! A child process that is reaped by a thread and killed on drop.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{OutputTail, ProcessId, spawner};
use qmp_client::wait::{Deadline, Watched};

/// How long to wait for the exit of a killed process. It takes longer only if the process is stuck in
/// a system call.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for the rest of the output after the exit.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
pub struct ProcessError {
    program: String,
    source: io::Error,
}

/// A child process, killed when this value is dropped or when this process ends.
#[derive(Debug)]
pub struct OwnedProcess {
    id: ProcessId,
    exit: Arc<Watched<Exit>>,
    stdout: OutputTail,
    stderr: OutputTail,
}

#[derive(Debug)]
enum Exit {
    /// Not reaped, so the pid is valid and can be signalled.
    Running(Child),
    Exited(ExitStatus),
}

impl OwnedProcess {
    /// Starts a command. The end of its standard output and error is kept; its standard input is
    /// `/dev/null`.
    ///
    /// # Errors
    /// If the program cannot be executed.
    pub fn spawn(mut command: Command) -> Result<Self, ProcessError> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| ProcessError {
            program: program.clone(),
            source,
        };
        let mut child = spawner::spawn(command).map_err(failed)?;
        Self::adopt(&mut child)
            .map_err(|source| {
                let _ = child.kill();
                let _ = child.wait();
                failed(source)
            })
            .map(|(id, stdout, stderr)| Self {
                id,
                exit: spawn_reaper(child),
                stdout,
                stderr,
            })
    }

    fn adopt(child: &mut Child) -> io::Result<(ProcessId, OutputTail, OutputTail)> {
        let missing = || io::Error::other("its output is not a pipe");
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok((
            ProcessId::of(pid_of(child).as_raw())?,
            OutputTail::of("stdout", stdout)?,
            OutputTail::of("stderr", stderr)?,
        ))
    }

    /// Returns the identity of the process.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Waits until the process has ended. Returns `None` at the deadline.
    pub fn wait(&self, deadline: Deadline) -> Option<ExitStatus> {
        self.exit.wait(deadline, |exit| match exit {
            Exit::Running(_) => None,
            Exit::Exited(status) => Some(*status),
        })
    }

    /// Kills the process and waits for its exit. Returns whether it has exited.
    pub fn kill(&self) -> bool {
        self.exit.with(|exit| {
            if let Exit::Running(child) = exit {
                // It has not been reaped, so the pid is valid.
                let _ = child.kill();
            }
        });
        self.wait(Deadline::after(KILL_TIMEOUT)).is_some()
    }

    /// Returns the end of its standard output.
    pub fn stdout(&self) -> String {
        self.output(&self.stdout)
    }

    /// Returns the end of its standard error.
    pub fn stderr(&self) -> String {
        self.output(&self.stderr)
    }

    /// Waits for the rest of the output if the process has ended.
    fn output(&self, tail: &OutputTail) -> String {
        let ended = self.wait(Deadline::after(Duration::ZERO)).is_some();
        let span = if ended {
            OUTPUT_TIMEOUT
        } else {
            Duration::ZERO
        };
        tail.text(Deadline::after(span))
    }
}

impl Drop for OwnedProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the exit without reaping, then reaps under the lock, so that a signal never goes to a
/// reused pid.
fn spawn_reaper(child: Child) -> Arc<Watched<Exit>> {
    let pid = pid_of(&child);
    let board = Arc::new(Watched::new(Exit::Running(child)));
    let reaper = Arc::clone(&board);
    let waiter = move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        reaper.with(|exit| {
            if let Exit::Running(child) = exit
                && let Ok(status) = child.wait()
            {
                *exit = Exit::Exited(status);
            }
        });
    };
    thread::Builder::new()
        .name("reaper".into())
        .spawn(waiter)
        .expect("cannot start the reaper thread");
    board
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid fits into an i32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> OwnedProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        OwnedProcess::spawn(command).unwrap()
    }

    #[test]
    fn exit_status_and_output_are_kept() {
        let process = shell("echo out; echo err >&2; exit 3");
        let status = process.wait(Deadline::after(Duration::from_secs(30)));
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(process.stdout(), "out\n");
        assert_eq!(process.stderr(), "err\n");
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let process = shell("exec sleep 1000");
        let id = process.id();
        assert!(id.is_alive());
        drop(process);
        assert!(!id.is_alive());
    }

    #[test]
    fn a_child_outlives_the_thread_that_spawned_it() {
        let process = thread::spawn(|| shell("exec sleep 1000")).join().unwrap();
        assert!(
            process
                .wait(Deadline::after(Duration::from_millis(200)))
                .is_none()
        );
    }

    #[test]
    fn the_error_names_the_missing_program() {
        let error = OwnedProcess::spawn(Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start no-such-program");
    }
}
