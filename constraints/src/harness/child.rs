//! A running test: a forked process, its output, and what it reports.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close, setpgid};

use super::body::{self, Ended};
use super::clock::{Clock, Due, Periods};
use super::left::{GRACE, Suspect};
use super::output::Output;
use super::stop::{Cause, Fate};
use super::user::{Home, User};
use crate::facts;
use crate::halt::{self, Halt};
use crate::measure::{self, Measures};
use crate::registry::Test;
use crate::sys::{
    Standard, become_leader, close_private_descriptors, default_signals, fork, has_ended,
    mark_owner, pipe, redirect, set_nonblocking, stderr,
};
use crate::verdict::Reason;

/// How to start a test.
pub(super) struct Start<'a> {
    pub(super) capture: bool,
    pub(super) periods: Periods,
    /// What a test reads that reads its standard input.
    pub(super) no_input: Option<&'a File>,
    /// Descriptors that are the harness's alone.
    pub(super) close: &'a [RawFd],
    /// Whom to become first, and where that user lives.
    pub(super) user: Option<(User, Home)>,
}

/// A test whose process has been started.
pub(super) struct Child {
    pub(super) test: &'static Test,
    pid: Pid,
    started: Instant,
    clock: Clock,
    /// Why it could not be signalled, if so.
    refused: Option<Errno>,
    /// Kept while the test's user needs it.
    user: Option<(User, Home)>,
    /// When the process was found to have ended.
    ended: Option<Instant>,
    /// Standard output and error in one pipe, so that their order is kept; `None` if not captured.
    output: Option<(Stream, Output)>,
    reports: (Stream, Reports),
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
    /// How the test ended by its own word, whatever its process did then.
    pub(super) reported: Option<How>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Passed,
    Failed,
    /// It stopped half-way and said why.
    Halted,
    /// A signal ended it.
    Signal(Signal),
    /// Its process exited with this code, which does not fit what the test reported, if it did.
    Exited(i32),
    /// The harness ended it.
    Stopped(Cause, Fate),
}

/// Where a test stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Running,
    /// It runs for long, which is to be said once.
    Slow,
    /// Its process has ended, or is given up.
    Ended,
}

impl Child {
    /// Forks a child that runs the test.
    pub(super) fn start(test: &'static Test, how: Start<'_>) -> Result<Self, Errno> {
        let (output, to_output) = if how.capture {
            let (read, write) = pipe()?;
            (Some((Stream::new(read)?, Output::default())), Some(write))
        } else {
            (None, None)
        };
        let (reports, to_reports) = pipe()?;
        let reports = (Stream::new(reports)?, Reports::default());
        let started = Instant::now();
        // SAFETY: the harness has one thread.
        let pid = unsafe { fork(|parent| live(parent, test, &how, to_output, to_reports)) }?;
        // The child does the same: whoever comes first, the group exists before it is needed.
        let _ = setpgid(pid, pid);
        Ok(Self {
            test,
            pid,
            started,
            clock: Clock::start(started, how.periods, test.time_limit()),
            refused: None,
            user: how.user,
            ended: None,
            output,
            reports,
        })
    }

    pub(super) fn suspect(&self) -> Suspect {
        Suspect {
            pid: self.pid,
            name: self.test.name(),
        }
    }

    pub(super) fn as_uid(&self) -> Option<u32> {
        self.user.as_ref().map(|(user, _)| user.uid())
    }

    /// What to poll for. The end of the process comes as a signal.
    pub(super) fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let output = self.output.as_ref().and_then(|(stream, _)| stream.fd());
        [output, self.reports.0.fd()]
    }

    /// When to look again, whatever happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.ended {
            Some(ended) => Some(self.linger(ended)),
            None => self.clock.next(),
        }
    }

    /// Takes what the pipes hold.
    pub(super) fn read(&mut self) {
        let (stream, reports) = &mut self.reports;
        stream.drain(|bytes| reports.push(bytes));
        if let Some((stream, output)) = &mut self.output {
            stream.drain(|bytes| output.push(bytes));
        }
    }

    /// Does what is due, and says where the test stands. The kernel told of an end if it may have
    /// ended. A process that has ended is not reaped, so its group's id stays taken.
    pub(super) fn step(&mut self, now: Instant, may_have_ended: bool) -> Step {
        if self.ended.is_some() || may_have_ended && has_ended(self.pid) {
            self.ended.get_or_insert(now);
            return Step::Ended;
        }
        loop {
            let signal = match self.clock.due(now) {
                Due::Nothing => return Step::Running,
                Due::Notice => return Step::Slow,
                Due::GiveUp => return Step::Ended,
                Due::Terminate => Signal::SIGTERM,
                Due::Kill => Signal::SIGKILL,
            };
            self.refused = self.signal(signal).err();
            // A signal that was not delivered has no effect to wait for.
            if self.refused.is_some() {
                self.clock.hurry(now);
            }
        }
    }

    /// Signals the test's process group, or its process if that has left the group.
    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        killpg(self.pid, signal).or_else(|_| kill(self.pid, signal))
    }

    /// Makes the end of the test due.
    pub(super) fn stop(&mut self, now: Instant, cause: Cause) {
        self.clock.end(now, cause);
    }

    /// Ends the grace period of a test that is to end.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.clock.hurry(now);
    }

    /// Stops the test's processes until it is resumed.
    pub(super) fn suspend(&self) {
        let _ = self.signal(Signal::SIGSTOP);
    }

    /// Lets the test go on that was suspended for this long.
    pub(super) fn resume(&mut self, suspended: Duration) {
        let _ = self.signal(Signal::SIGCONT);
        self.started += suspended;
        self.clock.pause(suspended);
    }

    /// Says whether what the ended test has started may still end by itself.
    pub(super) fn may_linger(&self, now: Instant) -> bool {
        self.ended.is_some_and(|ended| now < self.linger(ended))
    }

    /// Until when that may be: of a test that was terminated, its processes are too.
    fn linger(&self, ended: Instant) -> Instant {
        self.clock.linger(ended).unwrap_or(ended + GRACE)
    }

    /// Ends what is left of the test's process group, and takes stock. The process itself has ended,
    /// or is given up.
    pub(super) fn finish(mut self) -> Exit {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let took = ended.saturating_duration_since(self.started);
        let _ = killpg(self.pid, Signal::SIGKILL);
        let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        self.read();
        let reports = self.reports.1;
        let output = self.output.map(|(_, output)| output.into_bytes());
        let how = match (self.clock.ended(), status) {
            (Some((cause, _)), Ok(WaitStatus::StillAlive)) => {
                let (pid, refused) = (self.pid, self.refused);
                How::Stopped(cause, Fate::Alive { pid, refused })
            }
            (Some((cause, fate)), _) => How::Stopped(cause, fate),
            (None, status) => judge(status, reports.ended),
        };
        Exit {
            how,
            took,
            output: output.unwrap_or_default(),
            measures: reports.measures,
            halt: reports.halt,
            waived: reports.waived,
            reported: reports.ended,
        }
    }
}

/// What a test says about itself, a line each.
#[derive(Default)]
struct Reports {
    /// A line that has not yet come whole.
    rest: Vec<u8>,
    ended: Option<How>,
    measures: Measures,
    halt: Option<Halt>,
    waived: Vec<Reason>,
}

impl Reports {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line[..end]).as_ref());
        }
        // No report is that long: whoever wrote this has found our pipe by chance.
        if self.rest.len() > 64 * 1024 {
            self.rest.clear();
        }
    }

    fn line(&mut self, line: &str) {
        match line {
            "passed" => self.ended = Some(How::Passed),
            "failed" => self.ended = Some(How::Failed),
            line if Halt::read(line, &mut self.halt) => self.ended = Some(How::Halted),
            line => {
                if let Some((name, value)) = measure::parse(line) {
                    measure::put(&mut self.measures, name, value);
                }
                self.waived.extend(halt::read_waived(line));
            }
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
        (Ok(WaitStatus::Exited(_, code)), _) => How::Exited(code),
        _ => How::Failed,
    }
}

/// The life of the child.
fn live(parent: Pid, test: &Test, how: &Start<'_>, output: Option<OwnedFd>, reports: OwnedFd) -> ! {
    become_leader(parent);
    default_signals();
    mark_owner();
    // Locks among them: what the test leaves behind must not keep one.
    for fd in how.close {
        let _ = close(*fd);
    }
    // A process group in the background that reads the terminal would be stopped.
    if let Some(null) = how.no_input {
        let _ = redirect(Standard::Input, null);
        let _ = close(null.as_raw_fd());
    }
    if let Some(output) = output {
        let _ = redirect(Standard::Output, &output);
        let _ = redirect(Standard::Error, &output);
    }
    measure::report_to(reports);
    if let Some((user, home)) = &how.user {
        // What the harness reads and writes as root is not for this user.
        close_private_descriptors(measure::report_fd().as_slice());
        if let Err(problem) = user.become_it(parent) {
            stderr(&format!("{problem}\n"));
            measure::report("failed");
            std::process::exit(i32::from(super::FAILURE));
        }
        user.enter_session(home);
        // To this user other things are true than to the harness, whose answers came along.
        facts::forget();
    }
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

/// The reading end of a pipe.
struct Stream {
    file: File,
    open: bool,
}

/// How often one pipe is read before the others get their turn: a test can print without end.
const READS_IN_A_ROW: usize = 64;

/// Where every pipe is read into. On the stack it would be zeroed for each read, and its pages
/// copied for each fork.
static CHUNK: Mutex<[u8; 64 * 1024]> = Mutex::new([0; 64 * 1024]);

impl Stream {
    fn new(read: OwnedFd) -> Result<Self, Errno> {
        set_nonblocking(&read)?;
        Ok(Self {
            file: read.into(),
            open: true,
        })
    }

    /// What to poll for, until nobody can write any more.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.file.as_fd())
    }

    /// Reads what is there.
    fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.open {
            return;
        }
        let mut chunk = CHUNK.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..READS_IN_A_ROW {
            match self.file.read(&mut *chunk) {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(count) => {
                    take(&chunk[..count]);
                    // A pipe gives all that it holds.
                    if count < chunk.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }
}
