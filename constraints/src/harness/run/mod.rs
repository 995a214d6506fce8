//! The run: as many children as asked for at a time, one poll(2) for all that can happen.

mod half;
mod outcome;

use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::child::{Child, Start, Step};
use super::clock::{DYING_AT_ONCE, Periods};
use super::interrupt::Interrupt;
use super::left::Left;
use super::lifeline::Lifeline;
use super::plan::{Decided, Decision, Plan};
use super::select::Selected;
use super::serial::{Serial, Turn, longest_wait};
use super::shuffle::shuffle;
use super::stop::Cause;
use super::user::Home;
use crate::facts::Here;
use crate::registry::Test;
use crate::sys::{Signals, make_room_for_owner, stderr};

pub(super) use outcome::Report;

/// Runs the selected tests and returns the exit code.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = select(plan, tests)?;
    let periods = Periods::here()?;
    let signals = Signals::install().map_err(|errno| format!("no signals: {errno}"))?;
    make_room_for_owner();
    let run = Run {
        plan,
        report: Report::new(plan, selected.filtered_out)?,
        signals,
        lifeline: Lifeline::here(),
        serial: Serial::new(periods.slow_after, longest_wait()),
        left: Left::watch(),
        running: Vec::new(),
        no_input: File::open("/dev/null").ok(),
        periods,
        interrupt: None,
        at_once: false,
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
    periods: Periods,
    /// What asked this run to stop.
    interrupt: Option<Interrupt>,
    /// It was asked again, and waits for nothing any more.
    at_once: bool,
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
        let mut waiting = self.plan.decide(tests, &Here);
        // The next one is the last: so each can be taken out without moving the others.
        waiting.reverse();
        loop {
            let fail_fast = self.plan.options.fail_fast && self.report.has_failures();
            let stop = self.interrupt.is_some() || fail_fast;
            for notice in self.serial.overdue(Instant::now()) {
                stderr(&format!("{notice}\n"));
            }
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
            if signals.contains(&Signal::SIGTSTP) {
                self.suspend();
            }
            self.heed(&signals);
            self.look(&woken);
        }
        self.wait_for_killed();
        self.report.left_by_someone(self.left.unclear());
        self.report.finish(waiting.len(), self.interrupt)
    }

    /// Waits until what was killed is gone: nothing of a test outlives its harness.
    fn wait_for_killed(&mut self) {
        let dying = if self.at_once { DYING_AT_ONCE } else { DYING };
        let deadline = Instant::now() + dying;
        loop {
            let waiters: Vec<_> = self.serial.waiters().collect();
            self.left.look(&[], &waiters);
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.left.has_orphans(&waiters) || left.is_zero() {
                return;
            }
            let mut fds = [PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, timeout(left));
            let asked = |signal: &Signal| Interrupt::by(*signal).is_some();
            if self.signals.take().iter().any(asked) {
                return;
            }
        }
    }

    /// Ends the running tests if something asks this run to stop: the first time by SIGTERM and,
    /// after a grace period, SIGKILL, and the second time by SIGKILL at once.
    fn heed(&mut self, signals: &[Signal]) {
        let mut asked: Vec<_> = signals.iter().copied().filter_map(Interrupt::by).collect();
        if self.lifeline.is_cut() {
            // It stays cut, which is to be heard once.
            self.lifeline = Lifeline::default();
            asked.push(Interrupt::runner_gone());
        }
        let now = Instant::now();
        for asked in asked {
            if self.interrupt.is_none() {
                self.interrupt = Some(asked);
                for child in &mut self.running {
                    child.stop(now, Cause::Interrupt(asked));
                }
                if !self.running.is_empty() {
                    stderr(&format!(
                        "{}: terminating the running tests (once more to kill them)\n",
                        asked.name()
                    ));
                }
            } else if asked.is_urgent() {
                self.at_once = true;
                for child in &mut self.running {
                    child.hurry(now);
                }
            }
        }
    }

    /// Stops the tests and this process, until somebody lets it continue.
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

    /// Waits for output, for the end of a child, for a signal, for the end of the runner, for a
    /// change of the mounts, or for the next time that something is due. Says of each running test
    /// whether there is something to read.
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
        if let Some(fd) = self.left.fd() {
            fds.push(PollFd::new(fd, PollFlags::POLLPRI));
        }
        let next = self.running.iter().filter_map(Child::next);
        let next = next.chain(self.serial.next()).min();
        let limit = next.map_or(PollTimeout::NONE, |next| {
            timeout(next.saturating_duration_since(Instant::now()))
        });
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing but a programming error or a kernel without memory leads here.
            Err(errno) => panic!("poll: {errno}"),
        }
        let is_ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or_default();
        // The kernel says it once only.
        let mounts = is_ready(others);
        let mut at = 0;
        let mut readable = Vec::with_capacity(self.running.len());
        for child in &self.running {
            let end = at + child.fds().iter().flatten().count();
            readable.push((at..end).any(is_ready));
            at = end;
        }
        if mounts {
            self.left.mounts_changed();
        }
        readable
    }

    /// Begins as many tests as there is room for. One that waits for its turn lets others pass.
    fn begin_some(&mut self, waiting: &mut Vec<Decided>) {
        let mut index = waiting.len();
        while self.running.len() < self.plan.options.threads.get() && index > 0 {
            index -= 1;
            let next = &waiting[index];
            let turn = match (&next.decision, next.test.serial) {
                (Decision::Run, Some(group)) => self.serial.ask(group, Instant::now()),
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
            periods: self.periods,
            close: &self.serial.fds(),
            user: next.user.map(home).transpose()?,
        };
        let child = Child::start(next.test, start);
        let child = child.map_err(|errno| format!("no process could be started: {errno}"))?;
        self.running.push(child);
        Ok(())
    }

    /// Looks at every running test, and ends those that have ended or are to end.
    fn look(&mut self, woken: &Woken) {
        // Who runs while a mount appears may have made it. Processes matter when a test ends.
        if self.left.has_new_mounts() {
            self.take_stock();
        }
        let now = Instant::now();
        let mut index = 0;
        for is_readable in &woken.readable {
            let child = &mut self.running[index];
            if *is_readable {
                child.read();
            }
            let step = child.step(now, woken.ended || *is_readable);
            if step == Step::Slow {
                self.report.slow(child.test, self.periods.slow_after);
            }
            if step != Step::Ended || !self.end(index, now) {
                index += 1;
            }
        }
    }

    /// Ends a test that has ended, unless what it started may yet end too.
    fn end(&mut self, index: usize, now: Instant) -> bool {
        // What it left may have come to this process only now.
        self.take_stock();
        let child = &self.running[index];
        let test = child.suspect();
        if self.left.lingers(test.pid) && child.may_linger(now) {
            return false;
        }
        let child = self.running.remove(index);
        let left = self.left.settle(test);
        self.release(child.test);
        self.report.ended(child, left);
        true
    }

    /// Looks at what there is of the running tests, and of those that have just ended.
    fn take_stock(&mut self) {
        let suspects: Vec<_> = self.running.iter().map(Child::suspect).collect();
        let waiters: Vec<_> = self.serial.waiters().collect();
        self.left.look(&suspects, &waiters);
    }

    fn release(&mut self, test: &Test) {
        if let Some(group) = test.serial {
            self.serial.release(group);
        }
    }
}
