//! Single processes in a place: one test of a plain test binary, or any other program.

mod attached;
mod local;
mod process;
#[cfg(target_os = "linux")]
mod sudo;
#[cfg(target_os = "linux")]
mod userns;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{KernelLog, PlaceError, Run, StopToken, TestId};
use kata_test::__runner::ArtifactsFolder;

pub use attached::{AttachedCommand, Streams, is_readable_before};
pub use local::LocalSession;
pub(super) use process::run as run_process;
#[cfg(target_os = "linux")]
pub(super) use sudo::{SudoSession, memory_file, path_of};
#[cfg(target_os = "linux")]
pub(super) use userns::UsernsSession;

/// Which kind of user a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// A user without privileges.
    Unprivileged,
    /// Root.
    Root,
}

impl UserKind {
    /// Returns the kind of the user of this process.
    #[must_use]
    pub fn current() -> Self {
        if nix::unistd::geteuid().is_root() {
            Self::Root
        } else {
            Self::Unprivileged
        }
    }
}

impl fmt::Display for UserKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unprivileged => "an unprivileged user",
            Self::Root => "root",
        })
    }
}

/// A place that is ready to run one binary, as one kind of user.
pub trait Session {
    /// Runs a program in a process of its own to its end, and passes on what it prints to standard
    /// output and standard error as it comes. At the time limit, or when the run is to stop, the process
    /// and those that it has started get SIGTERM, and after a grace period SIGKILL.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError>;

    /// Runs the session's binary, or another program, to its end, with the caller's streams, signals and working directory, and
    /// no time limit.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, or the place fails meanwhile.
    fn attach(&mut self, command: &AttachedCommand<'_>) -> Result<ProcessEnd, PlaceError> {
        let _ = command;
        Err("this place cannot run a program with the caller's streams".into())
    }

    /// Lets gdb debug the kernel of the place, which it connects to by this socket.
    ///
    /// # Errors
    ///
    /// If it is not a kernel of the session's own.
    fn serve_gdb(&mut self, listener: UnixListener) -> Result<(), PlaceError> {
        drop(listener);
        Err("the kernel of this place cannot be debugged: use a VM".into())
    }

    /// Returns what the kernel of the place logged while the last process ran, if it is a kernel of the session's
    /// own.
    fn kernel_log(&mut self) -> KernelLog {
        KernelLog::default()
    }

    /// Tells it that the last process was this test, which has failed for good. If the run
    /// [saves guests](Run::claim_saved_guest) and the place has one, it is saved, and runs nothing more. Returns what
    /// to tell the user.
    fn save(&mut self, run: &Run, test: &TestId) -> Option<String> {
        let _ = (run, test);
        None
    }

    /// Returns which files of the last process did not come into its folder, and why.
    fn left_out(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Returns whether another process may run in it: not if it has died, or a process has left something
    /// behind.
    fn is_clean(&mut self) -> bool {
        true
    }

    /// Returns the user id of its processes.
    fn uid(&self) -> u32;
}

/// A command for a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionCommand<'a> {
    /// The program. `None`: the binary that the session was opened for.
    pub program: Option<&'a Path>,
    /// Its arguments.
    pub arguments: &'a [&'a OsStr],
    /// Variables in addition to those of the binary and of the place.
    pub env: &'a [(OsString, OsString)],
    /// The folder for its files. A place that does not see it sets `KATA_TEST_ARTIFACTS` to one of its own.
    pub artifacts: Option<&'a ArtifactsFolder>,
    /// How long it may run.
    pub limit: Duration,
    /// Stops it.
    pub stop: StopToken<'a>,
}

/// How a process in a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was ended at its time limit.
    TimedOut(Duration),
    /// It was ended because the run is to stop.
    Stopped,
    /// The place ended with it: the reason.
    Crashed(String),
}

impl ProcessEnd {
    /// Returns the end that a shell or sudo reports as this exit status.
    pub(super) fn of_shell(status: i32) -> Self {
        match status {
            129..=192 => Self::Signaled(status - 128),
            status => Self::Exited(status),
        }
    }

    /// Returns the name of the signal that ended it: `SIGSEGV`.
    #[must_use]
    pub fn signal(&self) -> Option<String> {
        let Self::Signaled(number) = self else {
            return None;
        };
        let name = Signal::try_from(*number).map(Signal::as_str);
        Some(name.map_or_else(|_| format!("signal {number}"), str::to_owned))
    }
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signaled(_) => f.write_str(&self.signal().unwrap_or_default()),
            Self::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f64()),
            Self::Stopped => f.write_str("stopped"),
            Self::Crashed(why) => f.write_str(why),
        }
    }
}
