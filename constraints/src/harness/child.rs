//! A running test: a forked process, its output, and what it reports.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setpgid};

use super::body::{self, Ended};
use crate::facts;
use crate::halt::{self, Halt};
use crate::measure::{self, Measures};
use crate::registry::Test;
use crate::sys::{become_leader, default_signals, fork, stderr};
use crate::verdict::Reason;

/// A test whose process has been started.
pub(super) struct Child {
    pub(super) test: &'static Test,
    pid: Pid,
    started: Instant,
    /// Standard output and error in one pipe, so that their order is kept; `None` if not captured.
    output: Option<Stream>,
    reports: Stream,
}

/// How a test's process ended.
pub(super) struct Exit {
    pub(super) how: How,
    pub(super) took: Duration,
    pub(super) output: Vec<u8>,
    pub(super) measures: Measures,
    /// Why it stopped half-way, if it did.
    pub(super) halt: Option<Halt>,
    /// What it required, is unmet, and did not stop it.
    pub(super) waived: Vec<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Passed,
    Failed,
    /// It stopped half-way and said why.
    Halted,
    /// A signal ended it.
    Signal(Signal),
    /// It left by itself before the test had ended.
    Left(i32),
}

impl Child {
    /// Forks a child that runs the test.
    pub(super) fn start(test: &'static Test, capture: bool) -> Result<Self, Errno> {
        let (output, to_output) = if capture {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            (Some(Stream::new(read)?), Some(write))
        } else {
            (None, None)
        };
        let (reports, to_reports) = pipe2(OFlag::O_CLOEXEC)?;
        let reports = Stream::new(reports)?;
        let started = Instant::now();
        let pid = fork(|parent| live(parent, test, to_output, to_reports))?;
        // The child does the same: whoever comes first, the group exists before it is needed.
        let _ = setpgid(pid, pid);
        Ok(Self {
            test,
            pid,
            started,
            output,
            reports,
        })
    }

    /// What to poll for. The end of the process comes as a signal.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let streams = self.output.iter().chain([&self.reports]);
        streams
            .filter(|stream| stream.open)
            .map(|stream| stream.file.as_fd())
    }

    /// Takes what the pipes hold.
    pub(super) fn read(&mut self) {
        self.reports.drain();
        if let Some(output) = &mut self.output {
            output.drain();
        }
    }

    /// Says whether the process has ended. It is not reaped, so its group's id stays taken.
    pub(super) fn has_ended(&self) -> bool {
        has_ended(self.pid)
    }

    /// Ends what the test has left behind, or the test itself, and takes stock.
    pub(super) fn finish(mut self) -> Exit {
        let took = self.started.elapsed();
        let _ = killpg(self.pid, Signal::SIGKILL);
        let status = waitpid(self.pid, None);
        self.read();
        let mut measures = Measures::new();
        let mut reported = None;
        let mut halt = None;
        let mut waived = Vec::new();
        for line in String::from_utf8_lossy(&self.reports.bytes).lines() {
            match line {
                "passed" => reported = Some(How::Passed),
                "failed" => reported = Some(How::Failed),
                line if Halt::read(line, &mut halt) => reported = Some(How::Halted),
                line => {
                    if let Some((name, value)) = measure::parse(line) {
                        measure::put(&mut measures, name, value);
                    }
                    waived.extend(halt::read_waived(line));
                }
            }
        }
        let output = self.output.map(|stream| stream.bytes).unwrap_or_default();
        Exit {
            how: judge(status, reported),
            took,
            output,
            measures,
            halt,
            waived,
        }
    }
}

/// A test has passed if it said so *and* its process left in peace: a destructor of a static, or
/// the test's own exit hook, can still fail after the body.
fn judge(status: Result<WaitStatus, Errno>, reported: Option<How>) -> How {
    match (status, reported) {
        (Ok(WaitStatus::Signaled(_, signal, _)), _) => How::Signal(signal),
        (Ok(WaitStatus::Exited(_, 0)), Some(how @ (How::Passed | How::Halted))) => how,
        (Ok(WaitStatus::Exited(..)), Some(How::Failed)) => How::Failed,
        (Ok(WaitStatus::Exited(_, code)), _) => How::Left(code),
        _ => How::Failed,
    }
}

#[cfg(target_os = "linux")]
fn has_ended(pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

#[cfg(not(target_os = "linux"))]
fn has_ended(pid: Pid) -> bool {
    // Without a look that does not reap, a signal 0 cannot tell a zombie; the group is asked for.
    nix::unistd::getpgid(Some(pid)).is_err()
}

/// The life of the child.
fn live(parent: Pid, test: &Test, output: Option<OwnedFd>, reports: OwnedFd) -> ! {
    become_leader(parent);
    default_signals();
    // A process group in the background that reads the terminal would be stopped.
    if let Ok(null) = File::open("/dev/null") {
        let _ = dup2_stdin(null);
    }
    if let Some(output) = output {
        let _ = dup2_stdout(&output);
        let _ = dup2_stderr(&output);
    }
    measure::report_to(reports);
    // The test may start threads, and then ask about the host.
    facts::many_threads();
    let ended = body::run(test);
    halt::report_waived();
    let passed = match ended {
        Ended::Passed => true,
        Ended::Panicked(payload) => {
            // Dropping a payload can itself panic, and nobody needs it any more.
            std::mem::forget(payload);
            false
        }
        Ended::Failed(why) => {
            stderr(&format!("note: {why}\n"));
            false
        }
        Ended::Halted(halt) => {
            halt.report();
            std::process::exit(0)
        }
    };
    measure::report(if passed { "passed" } else { "failed" });
    // The ordinary way out: coverage counters are written there.
    std::process::exit(if passed { 0 } else { i32::from(super::FAILURE) })
}

/// The reading end of a pipe, and what came out of it.
struct Stream {
    file: File,
    open: bool,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(read: OwnedFd) -> Result<Self, Errno> {
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            file: read.into(),
            open: true,
            bytes: Vec::new(),
        })
    }

    /// Reads what is there.
    fn drain(&mut self) {
        let mut chunk = [0; 16 * 1024];
        while self.open {
            match self.file.read(&mut chunk) {
                Ok(0) => self.open = false,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.open = false,
            }
        }
    }
}
