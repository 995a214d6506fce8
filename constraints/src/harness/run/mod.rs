//! Runs tests: up to `--test-threads` children at a time, with one poll(2) for all events.

mod attempt;
mod conclusion;
mod report;
mod runtime_skip;

use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::child::{Child, Start};
use super::clock::{DYING_AT_ONCE, Periods};
use super::interrupt::Interrupt;
use super::leaks::LeakDetector;
use super::lifeline::Lifeline;
use super::plan::{Decided, Decision, Plan};
use super::select::Selected;
use super::serial::{Serial, Turn, longest_wait};
use super::shuffle::shuffle;
use super::stop::Cause;
use super::user::Home;
use crate::facts::Here;
use crate::registry::Test;
use crate::sys::{Signals, stderr};

pub(super) use report::Report;

/// Runs the selected tests and returns the exit code.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = select(plan, tests)?;
    let periods = Periods::here()?;
    let signals = Signals::install()
        .map_err(|errno| format!("cannot install signal handlers: {}", errno.desc()))?;
    let run = Run {
        plan,
        report: Report::new(plan, selected.filtered_out)?,
        signals,
        lifeline: Lifeline::here(),
        serial: Serial::new(periods.slow_after, longest_wait()),
        leaks: LeakDetector::watch(),
        running: Vec::new(),
        begun: Vec::new(),
        again: Vec::new(),
        no_input: File::open("/dev/null").ok(),
        periods,
        interrupt: None,
        at_once: false,
    };
    Ok(run.all(&selected.tests))
}

/// The selected tests, in the order to run them.
pub(super) fn select(plan: &Plan, tests: &[&'static Test]) -> Result<Selected, String> {
    let mut selected = plan.select(tests);
    if selected.tests.is_empty() && plan.caller == super::Caller::NextestRun {
        return Err("this binary has no test that matches the arguments".to_owned());
    }
    if let Some(seed) = plan.options.shuffle {
        shuffle(&mut selected.tests, seed);
    }
    Ok(selected)
}

/// How long killed processes may take to end.
const DYING: Duration = Duration::from_secs(2);

/// Rounds up, so that the last millisecond is no busy loop.
fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

struct Run<'a> {
    plan: &'a Plan,
    report: Report<'a>,
    signals: Signals,
    lifeline: Lifeline,
    serial: Serial,
    leaks: LeakDetector,
    running: Vec<Child>,
    /// What was decided about the running tests, and those that are to run again.
    begun: Vec<Decided>,
    again: Vec<Decided>,
    no_input: Option<File>,
    periods: Periods,
    /// Why this run stops.
    interrupt: Option<Interrupt>,
    /// A second signal ends it at once.
    at_once: bool,
}

impl Run<'_> {
    fn all(mut self, tests: &[&'static Test]) -> ExitCode {
        self.report.head(tests.len());
        // All verdicts come before the first test: a test may change the host, and a probe must not
        // block the loop while tests run.
        let mut waiting = self.plan.decide(tests, &Here);
        // The next one is the last, so that removing it moves no others.
        waiting.reverse();
        loop {
            let fail_fast = self.plan.options.fail_fast && self.report.has_failures();
            let stop = self.interrupt.is_some() || fail_fast;
            for notice in self.serial.overdue(Instant::now()) {
                stderr(&format!("{notice}\n"));
            }
            // The next one is the last.
            waiting.append(&mut self.again);
            if !stop {
                self.begin_some(&mut waiting);
            }
            if self.running.is_empty() && (stop || waiting.is_empty()) {
                break;
            }
            let readable = self.wait();
            let signals = self.signals.take();
            if signals.contains(&Signal::SIGTSTP) {
                self.suspend();
            }
            self.interrupt(&signals);
            self.handle(&readable, signals.contains(&Signal::SIGCHLD));
        }
        self.wait_for_killed();
        self.report.unattributed_leaks(self.leaks.unattributed());
        self.report.finish(waiting.len(), self.interrupt)
    }

    /// Waits until killed processes are gone: no process of a test outlives its harness.
    fn wait_for_killed(&mut self) {
        let dying = if self.at_once { DYING_AT_ONCE } else { DYING };
        let deadline = Instant::now() + dying;
        loop {
            let waiters: Vec<_> = self.serial.waiters().collect();
            self.leaks.update(&[], &waiters);
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.leaks.has_orphans(&waiters) || left.is_zero() {
                return;
            }
            let mut fds = [PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, timeout(left));
            let interrupts = |signal: &Signal| Interrupt::by(*signal).is_some();
            if self.signals.take().iter().any(interrupts) {
                return;
            }
        }
    }

    /// Ends the running tests on a signal or the end of the runner: with SIGTERM and, after a grace
    /// period, SIGKILL; on a second signal with SIGKILL at once.
    fn interrupt(&mut self, signals: &[Signal]) {
        let mut interrupts: Vec<_> = signals.iter().copied().filter_map(Interrupt::by).collect();
        if self.lifeline.is_cut() {
            // It stays cut.
            self.lifeline = Lifeline::default();
            interrupts.push(Interrupt::runner_gone());
        }
        let now = Instant::now();
        for interrupt in interrupts {
            if self.interrupt.is_none() {
                self.interrupt = Some(interrupt);
                for child in &mut self.running {
                    child.stop(now, Cause::Interrupt(interrupt));
                }
                if !self.running.is_empty() {
                    stderr(&format!(
                        "{}: terminating the running tests (a second signal kills them)\n",
                        interrupt.name()
                    ));
                }
            } else if interrupt.is_urgent() {
                self.at_once = true;
                for child in &mut self.running {
                    child.hurry(now);
                }
            }
        }
    }

    /// Stops the tests and this process until SIGCONT.
    fn suspend(&mut self) {
        let start = Instant::now();
        for child in &self.running {
            child.suspend();
        }
        self.signals.stop();
        let suspended = start.elapsed();
        for child in &mut self.running {
            child.resume(suspended);
        }
        self.serial.pause(suspended);
    }

    /// Waits for output, a signal, the end of the runner, a change of the mounts, or until something is
    /// due. Returns for each running test whether its pipes are readable.
    fn wait(&mut self) -> Vec<bool> {
        self.report.flush();
        let mut fds = Vec::with_capacity(2 * self.running.len() + 3);
        for child in &self.running {
            for fd in child.fds().into_iter().flatten() {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
            }
        }
        fds.push(PollFd::new(self.signals.fd(), PollFlags::POLLIN));
        if let Some(fd) = self.lifeline.fd() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let others = fds.len();
        if let Some(fd) = self.leaks.fd() {
            fds.push(PollFd::new(fd, PollFlags::POLLPRI));
        }
        let next = self.running.iter().filter_map(Child::next);
        let next = next.chain(self.serial.next()).min();
        let limit = next.map_or(PollTimeout::NONE, |next| {
            timeout(next.saturating_duration_since(Instant::now()))
        });
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            // A programming error, or the kernel is out of memory.
            Err(errno) => panic!("poll: {errno}"),
        }
        let is_ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or_default();
        // The kernel reports it only once.
        let mounts = is_ready(others);
        let mut at = 0;
        let mut readable = Vec::with_capacity(self.running.len());
        for child in &self.running {
            let end = at + child.fds().iter().flatten().count();
            readable.push((at..end).any(is_ready));
            at = end;
        }
        if mounts {
            self.leaks.mounts_changed();
        }
        readable
    }

    /// Starts tests up to the limit. A test that waits for its serial group does not hold up others.
    fn begin_some(&mut self, waiting: &mut Vec<Decided>) {
        let mut index = waiting.len();
        while self.running.len() < self.plan.options.threads.get() && index > 0 {
            index -= 1;
            let next = &waiting[index];
            let turn = match (&next.decision, next.test.serial) {
                (Decision::Run(_), Some(group)) => self.serial.ask(group, Instant::now()),
                _ => Turn::Granted,
            };
            match turn {
                Turn::NotYet => {}
                Turn::Granted => {
                    let next = waiting.remove(index);
                    self.begin(next);
                }
                Turn::Failed(problem) => {
                    let next = waiting.remove(index);
                    self.report.not_started(&next, &problem);
                }
            }
        }
    }

    /// Starts a test, or reports that it does not run.
    fn begin(&mut self, next: Decided) {
        if !matches!(next.decision, Decision::Run(_)) {
            self.report.not_run(&next);
            return;
        }
        self.report.began(&next);
        if let Err(problem) = self.start(&next) {
            self.report.not_started(&next, &problem);
            self.release(next.test);
        } else {
            self.begun.push(next);
        }
    }

    fn start(&mut self, next: &Decided) -> Result<(), String> {
        let home = |user| match Home::make(user) {
            Ok(home) => Ok((user, home)),
            Err(error) => Err(format!(
                "cannot create a home for uid {}: {error}",
                user.uid()
            )),
        };
        let user = next.user.map(home).transpose()?;
        let artifacts = self.report.artifacts_folder(next);
        if let (Some(artifacts), Some((user, _))) = (&artifacts, &user) {
            // Without it the user has no such folder.
            let _ = artifacts.hand_to(user.uid(), user.gid());
        }
        let start = Start {
            capture: self.plan.options.capture,
            no_input: self.no_input.as_ref(),
            periods: self.periods,
            close: &self.serial.fds(),
            user,
            artifacts,
        };
        let child = Child::start(next.test, start);
        let child = child.map_err(|errno| format!("fork: {}", errno.desc()))?;
        self.running.push(child);
        Ok(())
    }

    /// Handles the events of every running test: whether its pipes are readable, and whether a child has ended.
    fn handle(&mut self, readable: &[bool], has_child_ended: bool) {
        // Any test that runs while a mount appears may have made it. Processes matter when a test ends.
        if self.leaks.has_new_mounts() {
            self.update_leaks();
        }
        let now = Instant::now();
        let mut index = 0;
        for is_readable in readable {
            let child = &mut self.running[index];
            if *is_readable {
                child.read();
            }
            let (report, after) = (&mut self.report, self.periods.slow_after);
            let may_have_ended = has_child_ended || *is_readable;
            let has_ended = child.step(now, may_have_ended, |test| report.slow(test, after));
            if !has_ended || !self.end(index, now) {
                index += 1;
            }
        }
    }

    /// Reports a test that has ended, unless processes that it started may still end by themselves.
    fn end(&mut self, index: usize, now: Instant) -> bool {
        // This process may have adopted its orphans only now.
        self.update_leaks();
        let child = &self.running[index];
        let test = child.process();
        if self.leaks.has_processes(test.pid) && child.may_linger(now) {
            return false;
        }
        let child = self.running.remove(index);
        let leaks = self.leaks.finish(test);
        self.release(child.test);
        let begun = self.begun.iter();
        let index = begun
            .map(|begun| begun.test.path)
            .position(|path| path == child.test.path);
        let mut decided = self.begun.swap_remove(index.expect("it has begun"));
        if self.report.conclude(&decided, child.finish(), &leaks) {
            decided.attempt += 1;
            self.again.push(decided);
        }
        true
    }

    /// Updates the leaks of the running tests and of those that have just ended.
    fn update_leaks(&mut self) {
        let tests: Vec<_> = self.running.iter().map(Child::process).collect();
        let waiters: Vec<_> = self.serial.waiters().collect();
        self.leaks.update(&tests, &waiters);
    }

    fn release(&mut self, test: &Test) {
        if let Some(group) = test.serial {
            self.serial.release(group);
        }
    }
}
