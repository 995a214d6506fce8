//! A running test: its forked process, its output and its reports.
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

use super::body;
use super::clock::{Clock, Due, Periods};
use super::kvm_guests;
use super::leaks::{GRACE, TestProcess};
use super::network;
use super::output::Output;
use super::stop::{Cause, Fate};
use super::test_end::TestEnd;
use super::user::{Home, User};
use crate::facts;
use crate::measure::{self, Measures};
use crate::reason::Reason;
use crate::record::{ARTIFACTS, Artifacts, ArtifactsFolder};
use crate::registry::{ExpectedFailure, Test};
use crate::report;
use crate::runtime_skip::{self, RuntimeSkip};
use crate::sys::{
    Message, Standard, await_crash, become_leader, close_private_descriptors, default_signals,
    fork, has_ended, mark_owner, may_execute, pipe, print_backtrace_at_crash, redirect,
    set_nonblocking, stderr,
};

/// How to start a test.
pub(super) struct Start<'a> {
    pub(super) capture: bool,
    pub(super) periods: Periods,
    /// The standard input of the test.
    pub(super) no_input: Option<&'a File>,
    /// Descriptors that the child closes.
    pub(super) close: &'a [RawFd],
    /// The user to run as, with its home.
    pub(super) user: Option<(User, Home)>,
    /// The folder for its files.
    pub(super) artifacts: Option<ArtifactsFolder>,
}

/// A test whose process has been started.
pub(super) struct Child {
    pub(super) test: &'static Test,
    pid: Pid,
    started: Instant,
    clock: Clock,
    /// Why the last signal could not be sent.
    refused: Option<Errno>,
    /// How many virtual CPUs of KVM it had when it was to end.
    guest_cpus: usize,
    /// Kept until the test has ended.
    _home: Option<Home>,
    artifacts: Option<ArtifactsFolder>,
    /// When the process was found to have ended.
    ended: Option<Instant>,
    /// Standard output and error in one pipe, so that their order is kept; `None` if not captured.
    output: Option<(Stream, Output)>,
    reports: (Stream, Reports),
}

/// What is known of a test that has ended.
pub(super) struct Exit {
    pub(super) end: TestEnd,
    /// When its process failed, if that was after the test had reported its end.
    pub(super) after: &'static str,
    pub(super) took: Duration,
    pub(super) output: Vec<u8>,
    pub(super) measures: Measures,
    /// The files that it left.
    pub(super) artifacts: Option<Artifacts>,
    /// How it was expected to fail, if it was.
    pub(super) expected: Option<&'static ExpectedFailure>,
    /// Unmet constraints of `require!` that did not end it.
    pub(super) waived: Vec<Reason>,
    /// How many virtual CPUs of KVM it had when it was to end.
    pub(super) guest_cpus: usize,
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
        let pid = unsafe { fork(|parent| run_child(parent, test, &how, to_output, to_reports)) }?;
        // The child does the same: the group has to exist before either needs it.
        let _ = setpgid(pid, pid);
        Ok(Self {
            test,
            pid,
            started,
            clock: Clock::start(started, how.periods, test.time_limit()),
            refused: None,
            guest_cpus: 0,
            _home: how.user.map(|(_, home)| home),
            artifacts: how.artifacts,
            ended: None,
            output,
            reports,
        })
    }

    pub(super) fn process(&self) -> TestProcess {
        TestProcess {
            pid: self.pid,
            name: self.test.name(),
        }
    }

    /// The descriptors to poll. The end of the process comes as SIGCHLD.
    pub(super) fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let output = self.output.as_ref().and_then(|(stream, _)| stream.fd());
        [output, self.reports.0.fd()]
    }

    /// When something is due, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.ended {
            Some(ended) => Some(self.linger(ended)),
            None => self.clock.next(),
        }
    }

    /// Reads the pipes.
    pub(super) fn read(&mut self) {
        let (stream, reports) = &mut self.reports;
        stream.drain(|bytes| reports.push(bytes));
        if let Some((stream, output)) = &mut self.output {
            stream.drain(|bytes| output.push(bytes));
        }
    }

    /// Sends the signals that are due, and returns whether the process has ended or is given up.
    /// `may_have_ended` saves a look at a process that cannot have ended. One that has ended is not
    /// reaped, so the id of its group stays taken.
    pub(super) fn step(
        &mut self,
        now: Instant,
        may_have_ended: bool,
        mut on_slow: impl FnMut(&Test),
    ) -> bool {
        if self.ended.is_some() || may_have_ended && has_ended(self.pid) {
            self.ended.get_or_insert(now);
            return true;
        }
        loop {
            let signal = match self.clock.due(now) {
                Due::Nothing => return false,
                Due::Notice => {
                    on_slow(self.test);
                    continue;
                }
                Due::GiveUp => return true,
                Due::Terminate => {
                    self.guest_cpus = kvm_guests::cpus(self.pid);
                    Signal::SIGTERM
                }
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

    /// Continues the test, which was suspended for this long.
    pub(super) fn resume(&mut self, suspended: Duration) {
        let _ = self.signal(Signal::SIGCONT);
        self.started += suspended;
        self.clock.pause(suspended);
    }

    /// Whether processes that the ended test has started may still end by themselves.
    pub(super) fn may_linger(&self, now: Instant) -> bool {
        self.ended.is_some_and(|ended| now < self.linger(ended))
    }

    /// The end of that time. Those of a terminated test got SIGTERM too.
    fn linger(&self, ended: Instant) -> Instant {
        self.clock.linger(ended).unwrap_or(ended + GRACE)
    }

    /// Kills the rest of the test's process group and reaps the process, which has ended or is given
    /// up.
    pub(super) fn finish(mut self) -> Exit {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let took = ended.saturating_duration_since(self.started);
        let _ = killpg(self.pid, Signal::SIGKILL);
        let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        self.read();
        let reports = self.reports.1;
        let output = self.output.map(|(_, output)| output.into_bytes());
        let after = reports.end.as_ref().map_or("", TestEnd::after);
        let artifacts = self.artifacts.as_ref().and_then(ArtifactsFolder::finish);
        let end = match (self.clock.ended(), status) {
            (Some((cause, _)), Ok(WaitStatus::StillAlive)) => {
                let (pid, refused) = (self.pid, self.refused);
                TestEnd::Stopped(cause, Fate::Alive { pid, refused })
            }
            (Some((cause, fate)), _) => TestEnd::Stopped(cause, fate),
            (None, status) => test_end(status, reports.end),
        };
        Exit {
            end,
            after,
            took,
            output: output.unwrap_or_default(),
            measures: reports.measures,
            artifacts,
            expected: reports
                .expected
                .and_then(|index| self.test.expect_failure.get(index)),
            waived: reports.waived,
            guest_cpus: self.guest_cpus,
        }
    }
}

/// What a test's process has reported.
#[derive(Default)]
struct Reports {
    /// The start of a line.
    rest: Vec<u8>,
    end: Option<TestEnd>,
    measures: Measures,
    /// The index of the `expect_failure` that applies.
    expected: Option<usize>,
    waived: Vec<Reason>,
}

impl Reports {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.message(&Message::decode(&String::from_utf8_lossy(&line[..end])));
        }
        // No report is that long: these bytes come from a program that took the pipe for its own.
        if self.rest.len() > 64 * 1024 {
            self.rest.clear();
        }
    }

    fn message(&mut self, message: &Message) {
        if let Some(skip) = RuntimeSkip::read(message) {
            match &mut self.end {
                Some(TestEnd::Skipped(known)) => known.reasons.extend(skip.reasons),
                end => *end = Some(TestEnd::Skipped(skip)),
            }
        } else if let Some((name, value)) = measure::parse(message) {
            measure::put(&mut self.measures, name, value);
        } else {
            match message.kind.as_str() {
                PASSED => self.end = Some(TestEnd::Passed),
                FAILED => self.end = Some(TestEnd::Failed(None)),
                EXPECTED_FAILURE => self.end = Some(TestEnd::ExpectedFailure),
                UNEXPECTED_PASS => self.end = Some(TestEnd::UnexpectedPass),
                EXPECTS => {
                    self.expected = message.texts.first().and_then(|index| index.parse().ok());
                }
                runtime_skip::WAIVED_KIND => self.waived.extend(message.reason()),
                _ => {}
            }
        }
    }
}

/// The kinds of the messages about the end of a test that was not skipped.
const PASSED: &str = "passed";
const FAILED: &str = "failed";
const EXPECTED_FAILURE: &str = "expected_failure";
const UNEXPECTED_PASS: &str = "unexpected_pass";
/// The kind of the message with the index of the `expect_failure` that applies.
const EXPECTS: &str = "expects";

/// A test has passed if it reported so *and* its process exited with 0: a destructor of a static, or
/// the test's own exit hook, can fail after the body.
fn test_end(status: Result<WaitStatus, Errno>, reported: Option<TestEnd>) -> TestEnd {
    match (status, reported) {
        (Ok(WaitStatus::Signaled(_, signal, _)), _) => TestEnd::Signal(signal),
        (
            Ok(WaitStatus::Exited(_, 0)),
            Some(
                end @ (TestEnd::Passed
                | TestEnd::Skipped(_)
                | TestEnd::ExpectedFailure
                | TestEnd::UnexpectedPass),
            ),
        ) => end,
        (Ok(WaitStatus::Exited(..)), Some(TestEnd::Failed(why))) => TestEnd::Failed(why),
        (Ok(WaitStatus::Exited(_, code)), _) => TestEnd::Exited(code),
        _ => TestEnd::Failed(None),
    }
}

/// Runs in the child: prepares its process, runs the test and exits.
fn run_child(
    parent: Pid,
    test: &Test,
    how: &Start<'_>,
    output: Option<OwnedFd>,
    reports: OwnedFd,
) -> ! {
    become_leader(parent);
    default_signals();
    mark_owner(parent);
    // Among them are locks, which a process left behind must not keep.
    for fd in how.close {
        let _ = close(*fd);
    }
    // The kernel stops a background process group that reads the terminal.
    if let Some(null) = how.no_input {
        let _ = redirect(Standard::Input, null);
        let _ = close(null.as_raw_fd());
    }
    if let Some(output) = output {
        let _ = redirect(Standard::Output, &output);
        let _ = redirect(Standard::Error, &output);
    }
    report::open(reports);
    if let Err(problem) = network::enter_for_good(test) {
        fail(&problem);
    }
    if let Some((user, home)) = &how.user {
        // The harness's own files, opened as root, are none of this user's.
        close_private_descriptors(report::fd().as_slice());
        if let Err(problem) = user.drop_privileges(parent) {
            fail(&problem);
        }
        user.enter_session(home);
        // The harness's facts are those of root.
        facts::forget();
    }
    set_artifacts(how.artifacts.as_ref());
    // The test may start threads, and then ask about the host.
    facts::many_threads();
    print_backtrace_at_crash();
    let end = body::run(test, |index| {
        report::send_own(Message::new(EXPECTS, &[&index.to_string()]));
    });
    // Another thread may be printing its backtrace.
    await_crash();
    runtime_skip::report_waived();
    let code = match end {
        TestEnd::Skipped(skip) => {
            skip.report();
            0
        }
        end @ (TestEnd::Passed | TestEnd::ExpectedFailure | TestEnd::UnexpectedPass) => {
            let kind = match end {
                TestEnd::Passed => PASSED,
                TestEnd::ExpectedFailure => EXPECTED_FAILURE,
                _ => UNEXPECTED_PASS,
            };
            report::send_own(Message::new(kind, &[]));
            0
        }
        end => {
            if let TestEnd::Failed(Some(why)) = end {
                stderr(&format!("note: {why}\n"));
            }
            report::send_own(Message::new(FAILED, &[]));
            i32::from(super::FAILURE)
        }
    };
    // By way of exit hooks, which write coverage counters.
    std::process::exit(code)
}

/// Ends the child of a test that cannot begin.
fn fail(problem: &str) -> ! {
    stderr(&format!("{problem}\n"));
    report::send_own(Message::new(FAILED, &[]));
    std::process::exit(i32::from(super::FAILURE))
}

/// Sets the variable with the folder for files, if the process's user can reach it. An outer test may have set it.
fn set_artifacts(folder: Option<&ArtifactsFolder>) {
    let path = folder.and_then(|folder| folder.path().ok());
    let path = path.filter(|path| may_execute(path).is_ok());
    // SAFETY: the process was just forked and has one thread.
    unsafe {
        match path {
            Some(path) => std::env::set_var(ARTIFACTS, path),
            None => std::env::remove_var(ARTIFACTS),
        }
    }
}

/// The reading end of a pipe.
struct Stream {
    file: File,
    open: bool,
}

/// How often one pipe is read in a row: a test can print without end.
const READS_IN_A_ROW: usize = 64;

/// The buffer for all pipes. On the stack it would be zeroed for each read, and its pages copied for
/// each fork.
static CHUNK: Mutex<[u8; 64 * 1024]> = Mutex::new([0; 64 * 1024]);

impl Stream {
    fn new(read: OwnedFd) -> Result<Self, Errno> {
        set_nonblocking(&read)?;
        Ok(Self {
            file: read.into(),
            open: true,
        })
    }

    /// The descriptor to poll, until every writer has closed it.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.file.as_fd())
    }

    /// Reads what is available.
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
                    // The pipe is empty.
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
