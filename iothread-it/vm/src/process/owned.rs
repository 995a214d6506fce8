//! A child with its exit awaited by a thread and its last words kept.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{ProcessId, Tail, spawner};
use qmp_client::wait::{Board, Deadline};

/// How long a killed process may take to be gone. The kernel needs longer only while the process
/// is stuck in the kernel itself.
const KILL_SPAN: Duration = Duration::from_secs(10);

/// How long to wait for the rest of a process's output after it has ended.
const OUTPUT_SPAN: Duration = Duration::from_secs(2);

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
pub struct ProcessError {
    program: String,
    source: io::Error,
}

/// A running child, killed when this value is dropped or its owner ends.
#[derive(Debug)]
pub struct OwnedProcess {
    id: ProcessId,
    exit: Arc<Board<Exit>>,
    stdout: Tail,
    stderr: Tail,
}

#[derive(Debug)]
enum Exit {
    /// Not reaped, so the number is still this child's and can be signalled.
    Running(Child),
    Exited(ExitStatus),
}

impl OwnedProcess {
    /// Starts a command. Its standard output and error are kept; it has no standard input.
    ///
    /// # Errors
    /// If it cannot be executed.
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
                exit: await_exit(child),
                stdout,
                stderr,
            })
    }

    fn adopt(child: &mut Child) -> io::Result<(ProcessId, Tail, Tail)> {
        let missing = || io::Error::other("its output is not a pipe");
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok((
            ProcessId::of(pid_of(child).as_raw())?,
            Tail::of("stdout", stdout)?,
            Tail::of("stderr", stderr)?,
        ))
    }

    /// Returns which process it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Waits until it has ended by itself.
    pub fn wait(&self, deadline: Deadline) -> Option<ExitStatus> {
        self.exit.wait(deadline, |exit| match exit {
            Exit::Running(_) => None,
            Exit::Exited(status) => Some(*status),
        })
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        self.exit.with(|exit| {
            if let Exit::Running(child) = exit {
                // It has not been reaped, so the number is its own.
                let _ = kill(pid_of(child), signal);
            }
        });
    }

    /// Kills it and waits until it is gone. Returns whether it is.
    pub fn kill(&self) -> bool {
        self.signal(Signal::SIGKILL);
        self.wait(Deadline::after(KILL_SPAN)).is_some()
    }

    /// Returns the end of its standard output.
    pub fn stdout(&self) -> String {
        self.output(&self.stdout)
    }

    /// Returns the end of its standard error.
    pub fn stderr(&self) -> String {
        self.output(&self.stderr)
    }

    /// Of an ended process all there is, of a running one what there is now.
    fn output(&self, tail: &Tail) -> String {
        let ended = self.wait(Deadline::after(Duration::ZERO)).is_some();
        let span = if ended { OUTPUT_SPAN } else { Duration::ZERO };
        tail.text(Deadline::after(span))
    }
}

impl Drop for OwnedProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the exit without reaping, and reaps under the lock: so a signal never goes to a
/// number that has passed to another process.
fn await_exit(child: Child) -> Arc<Board<Exit>> {
    let pid = pid_of(&child);
    let board = Arc::new(Board::new(Exit::Running(child)));
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
        .expect("a thread can be started where several just were");
    board
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("Linux numbers processes within an i32"))
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
    fn exit_status_and_last_words_are_kept() {
        let process = shell("echo out; echo err >&2; exit 3");
        let status = process.wait(Deadline::after(Duration::from_secs(30)));
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(process.stdout(), "out\n");
        assert_eq!(process.stderr(), "err\n");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("exec sleep 1000");
        let id = process.id();
        assert!(id.is_alive());
        drop(process);
        assert!(!id.is_alive());
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let process = thread::spawn(|| shell("exec sleep 1000")).join().unwrap();
        assert!(
            process
                .wait(Deadline::after(Duration::from_millis(200)))
                .is_none()
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = OwnedProcess::spawn(Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start no-such-program");
    }
}
