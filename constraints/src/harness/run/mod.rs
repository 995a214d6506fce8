//! The run: as many children as asked for at a time, one poll(2) for all that can happen.

mod half;
mod outcome;

use std::collections::VecDeque;
use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::child::{Child, Start, Step};
use super::clock;
use super::interrupt::Interrupt;
use super::left::{Left, Suspect};
use super::lifeline::Lifeline;
use super::plan::{Decided, Decision, Plan};
use super::select::Selected;
use super::serial::{Serial, Turn};
use super::shuffle::shuffle;
use super::user::Home;
use crate::facts::Here;
use crate::registry::Test;
use crate::sys::{Signals, make_room_for_owner};

pub(super) use outcome::Report;

/// Runs the selected tests and returns the exit code.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = select(plan, tests)?;
    let signals = Signals::install().map_err(|errno| format!("no signals: {errno}"))?;
    make_room_for_owner();
    let run = Run {
        plan,
        report: Report::new(plan, selected.filtered_out)?,
        signals,
        lifeline: Lifeline::here(),
        serial: Serial::default(),
        left: Left::watch(),
        running: Vec::new(),
        no_input: File::open("/dev/null").ok(),
        slow_after: clock::slow_after(),
    };
    Ok(run.all(&selected.tests))
}

/// The tests to run, in their order.
pub(super) fn select(plan: &Plan, tests: &[&'static Test]) -> Result<Selected, String> {
    let mut selected = plan.select(tests);
    if selected.tests.is_empty() && plan.caller == super::Caller::NextestRun {
        return Err("nextest asked for a test that is not here".to_owned());
    }
    if let Some(seed) = plan.options.shuffle {
        shuffle(&mut selected.tests, seed);
    }
    Ok(selected)
}

/// How long killed processes may take to be gone.
const DYING: Duration = Duration::from_secs(2);

/// Rounded up, so that the last millisecond is no busy loop.
fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

struct Run<'a> {
    plan: &'a Plan,
    report: Report<'a>,
    signals: Signals,
    lifeline: Lifeline,
    serial: Serial,
    left: Left,
    running: Vec<Child>,
    no_input: Option<File>,
    slow_after: Duration,
}

/// What a wait ended with.
struct Woken {
    /// For each running test, whether its pipes have something.
    readable: Vec<bool>,
    /// A child has ended.
    ended: bool,
}

impl Run<'_> {
    fn all(mut self, tests: &[&'static Test]) -> ExitCode {
        self.report.head(tests.len());
        // Verdicts come before tests: a test may change what the host is, and a probe must not
        // keep the loop from the tests that run.
        let mut waiting: VecDeque<Decided> = self.plan.decide(tests, &Here).into();
        let mut interrupt = None;
        loop {
            let fail_fast = self.plan.options.fail_fast && self.report.has_failures();
            let stop = interrupt.is_some() || fail_fast;
            if !stop {
                self.begin_some(&mut waiting);
            }
            if self.running.is_empty() && (stop || waiting.is_empty()) {
                break;
            }
            let readable = self.wait();
            let signals = self.signals.take();
            let woken = Woken {
                readable,
                ended: signals.contains(&Signal::SIGCHLD),
            };
            interrupt = interrupt.or_else(|| self.interrupt(&signals));
            self.look(&woken, interrupt);
        }
        self.wait_for_killed();
        self.report.left_by_someone(self.left.unclear());
        self.report.finish(waiting.len(), interrupt)
    }

    /// Waits until what was killed is gone: nothing of a test outlives its harness.
    fn wait_for_killed(&mut self) {
        let deadline = Instant::now() + DYING;
        loop {
            let waiters: Vec<_> = self.serial.waiters().collect();
            self.left.look(&[], &waiters);
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.left.has_orphans(&waiters) || left.is_zero() {
                return;
            }
            let mut fds = [PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, timeout(left));
            self.signals.take();
        }
    }

    /// What asks this run to stop, if anything does by now.
    fn interrupt(&self, signals: &[Signal]) -> Option<Interrupt> {
        let signalled = Interrupt::among(signals);
        signalled.or_else(|| self.lifeline.is_cut().then(Interrupt::runner_gone))
    }

    /// Waits for output, for the end of a child, for a signal, for the end of the runner, for a
    /// change of the mounts, or for the next time that something is due. Says of each running test
    /// whether there is something to read.
    fn wait(&mut self) -> Vec<bool> {
        self.report.flush();
        let fds = self
            .running
            .iter()
            .flat_map(Child::fds)
            .chain([self.signals.fd()])
            .chain(self.lifeline.fd());
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let others = fds.len();
        fds.extend(self.left.fd().map(|fd| PollFd::new(fd, PollFlags::POLLPRI)));
        let next = self.running.iter().filter_map(Child::next).min();
        let limit = next.map_or(PollTimeout::NONE, |next| {
            timeout(next.saturating_duration_since(Instant::now()))
        });
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing but a programming error or a kernel without memory leads here.
            Err(errno) => panic!("poll: {errno}"),
        }
        // The kernel says it once only.
        let mounts = fds.get(others).and_then(PollFd::any);
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or_default();
        let mut fds = fds.iter();
        let mut is_readable = |child: &Child| {
            let its = fds.by_ref().take(child.fds().count());
            its.filter(|fd| ready(fd)).count() > 0
        };
        let readable = self.running.iter().map(&mut is_readable).collect();
        if mounts.unwrap_or_default() {
            self.left.mounts_changed();
        }
        readable
    }

    /// Begins as many tests as there is room for. One that waits for its turn lets others pass.
    fn begin_some(&mut self, waiting: &mut VecDeque<Decided>) {
        let mut index = 0;
        while self.running.len() < self.plan.options.threads.get() && index < waiting.len() {
            let next = &waiting[index];
            let turn = match (&next.decision, next.test.serial) {
                (Decision::Run, Some(group)) => self.serial.ask(group),
                _ => Turn::Granted,
            };
            match turn {
                Turn::NotYet => index += 1,
                Turn::Granted => {
                    let next = waiting.remove(index);
                    next.into_iter().for_each(|next| self.begin(next));
                }
                Turn::Failed(problem) => {
                    let next = waiting.remove(index);
                    next.into_iter()
                        .for_each(|next| self.report.not_started(&next, &problem));
                }
            }
        }
    }

    /// Starts a test, or settles what becomes of it without starting.
    fn begin(&mut self, next: Decided) {
        if next.decision != Decision::Run {
            self.report.not_run(&next);
            return;
        }
        self.report.began(&next);
        if let Err(problem) = self.start(&next) {
            self.report.not_started(&next, &problem);
            self.release(next.test);
        }
    }

    fn start(&mut self, next: &Decided) -> Result<(), String> {
        let home = |user| match Home::make(user) {
            Ok(home) => Ok((user, home)),
            Err(error) => Err(format!("no home for uid {}: {error}", user.uid())),
        };
        let start = Start {
            capture: self.plan.options.capture,
            no_input: self.no_input.as_ref(),
            slow_after: self.slow_after,
            close: &self.serial.fds(),
            user: next.user.map(home).transpose()?,
        };
        let child = Child::start(next.test, start);
        let child = child.map_err(|errno| format!("no process could be started: {errno}"))?;
        self.running.push(child);
        Ok(())
    }

    /// Looks at every running test, and ends those that have ended or are to end.
    fn look(&mut self, woken: &Woken, interrupt: Option<Interrupt>) {
        let suspects: Vec<_> = self.running.iter().map(Child::suspect).collect();
        let waiters: Vec<_> = self.serial.waiters().collect();
        // Who runs while a mount appears may have made it. Processes matter when a test ends.
        if self.left.has_new_mounts() {
            self.left.look(&suspects, &waiters);
        }
        let now = Instant::now();
        let running = std::mem::take(&mut self.running);
        for (mut child, is_readable) in running.into_iter().zip(&woken.readable) {
            if *is_readable {
                child.read();
            }
            if let Some(interrupt) = interrupt {
                self.release(child.test);
                self.left.settle(child.suspect());
                self.report.interrupted(child, interrupt);
                continue;
            }
            match child.step(now, woken.ended || *is_readable) {
                Step::Running => self.running.push(child),
                Step::Slow => {
                    self.report.slow(child.test, self.slow_after);
                    self.running.push(child);
                }
                Step::Ended => self.end(child, now, &suspects, &waiters),
            }
        }
    }

    fn end(&mut self, child: Child, now: Instant, suspects: &[Suspect], waiters: &[Pid]) {
        let test = child.suspect();
        // What it left may have come to this process only now.
        self.left.look(suspects, waiters);
        if self.left.lingers(test.pid) && child.may_linger(now) {
            self.running.push(child);
            return;
        }
        let left = self.left.settle(test);
        self.release(child.test);
        self.report.ended(child, left);
    }

    fn release(&mut self, test: &Test) {
        if let Some(group) = test.serial {
            self.serial.release(group);
        }
    }
}
