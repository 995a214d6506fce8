//! Runs plain tests: on this host several at a time, in other places one at a time in each instance.

mod elsewhere;
mod executor;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::binary_kind::is_serial;
use super::kvm::KvmUsers;
use super::requirements::FactsProgram;
use super::routes::{Routes, Routing};
use super::screen;
use super::task::{Ended, Route, Task, record_ignored, record_nowhere, record_unrun};
use super::{PlainOptions, PlainTest};
use crate::ledger::plural;
use crate::{
    Binary, CandidatePlace, ExpectedDurations, LocalSession, Outcome, ProcessEnd, Reporter, Run,
    RunnerError, Spread,
};
use kata_test::__runner::{HERE, shuffle};
use kata_test_host::constraint::{Status, evaluate, kvm};
use kata_test_host::facts::Here;
use kata_test_host::reason::Reason;

/// After this time without a result the running tests are printed.
const SLOW: Duration = Duration::from_secs(20);

/// Plain tests to run.
pub struct PlainRun<'a> {
    /// Their binaries.
    pub binaries: &'a [Binary],
    /// The tests.
    pub tests: &'a [PlainTest],
    /// The run that they belong to.
    pub run: &'a Run,
    /// How they run.
    pub options: &'a PlainOptions,
    /// Evaluates in other places what the configuration requires. `None`: it is not evaluated there.
    pub program: Option<&'a FactsProgram>,
}

/// Runs plain tests, each in the first of the places, which are sorted by their cost. A test whose output
/// says that it skips, or that fails for lack of permission, is run again: in the other places as the same
/// kind of user, then as root. With [`Spread::Everywhere`] each runs in all of the places as the same kind of
/// user, and has an outcome in each.
///
/// # Errors
///
/// If records cannot be read or written.
pub fn run_plain(
    plain: &PlainRun<'_>,
    candidates: &mut [CandidatePlace],
    reporter: &mut Reporter<'_>,
) -> Result<(), RunnerError> {
    let mut routing = Routing::new(candidates, plain.options.spread, plain.tests);
    if let Some(program) = plain.program {
        let (stop, progress) = (reporter.stop, &mut *reporter.progress);
        match routing.evaluate(plain.tests, candidates, program, stop, progress) {
            Err(RunnerError::Stopped) => return Ok(()),
            evaluated => evaluated?,
        }
    }
    let mut dispatch = Dispatch {
        routing,
        kvm_users: KvmUsers::default(),
        plain,
        tasks: Vec::new(),
        durations: plain.run.expected_durations(),
        reporter,
        has_failed: false,
    };
    dispatch.schedule()?;
    for route in dispatch.routing.order.clone() {
        for binary in plain.binaries {
            let indices = dispatch.waiting(route, binary);
            if indices.is_empty() || dispatch.is_over() {
                continue;
            }
            match &mut candidates[route.place] {
                CandidatePlace::Here => {
                    let is_alone = |at: &usize| dispatch.tasks[*at].test.settings.alone;
                    let (alone, parallel) = indices.into_iter().partition::<Vec<_>, _>(is_alone);
                    dispatch.run_here(binary, parallel, plain.options.threads.get())?;
                    dispatch.run_here(binary, alone, 1)?;
                }
                CandidatePlace::Place(place) => {
                    dispatch.run_there(place.as_mut(), route, binary, indices)?;
                }
                CandidatePlace::Recorded(_) => {}
            }
        }
    }
    if dispatch.is_over() {
        return Ok(());
    }
    dispatch
        .tasks
        .iter()
        .try_for_each(|task| task.settle(plain.run))
}

struct Dispatch<'a, 'r, 'o> {
    plain: &'a PlainRun<'a>,
    routing: Routing,
    kvm_users: KvmUsers,
    tasks: Vec<Task<'a>>,
    durations: ExpectedDurations,
    reporter: &'r mut Reporter<'o>,
    has_failed: bool,
}

impl Dispatch<'_, '_, '_> {
    /// Records the tests that are about to run, so that none is missed if nothing more comes of this run.
    fn schedule(&mut self) -> Result<(), RunnerError> {
        let (run, routing) = (self.plain.run, &self.routing);
        let names = &routing.names;
        for test in self.plain.tests {
            if !test.runs {
                let first = routing.order.first().map(|route| &names[route.place]);
                record_ignored(run, test, first.map_or(HERE, String::as_str))?;
                continue;
            }
            let Routes {
                alternatives,
                unmet,
            } = routing.of(test);
            if alternatives.is_empty() {
                let is_here_only = names.iter().all(|name| name == HERE);
                record_nowhere(run, test, unmet, is_here_only)?;
                continue;
            }
            let everywhere = self.plain.options.spread == Spread::Everywhere;
            let passed_over = unmet.into_iter().filter(|_| everywhere);
            for (place, verdict) in passed_over {
                let outcome = match verdict.status {
                    Status::Undetermined => Outcome::Undetermined,
                    Status::Met | Status::Unmet => Outcome::Skipped,
                };
                record_unrun(run, test, &names[place], outcome, verdict.reasons)?;
            }
            for routes in alternatives {
                let first = routes.front().filter(|_| !self.plain.options.fail_fast);
                if let Some(first) = first {
                    run.record_scheduled(&names[first.place], &test.id)?;
                }
                let expectations = routing.expectations(test);
                let mut task = Task::new(test, routes, expectations, names.len());
                task.for_lack_of_kvm = routing.for_lack_of_kvm(&test.settings);
                self.tasks.push(task);
            }
        }
        Ok(())
    }

    /// The tests of a binary for which this is the next route.
    fn waiting(&self, route: Route, binary: &Binary) -> Vec<usize> {
        let tasks = self.tasks.iter().enumerate();
        let is_next = |task: &Task<'_>| {
            task.routes.front() == Some(&route) && task.test.id.binary == binary.id
        };
        tasks
            .filter_map(|(index, task)| is_next(task).then_some(index))
            .collect()
    }

    fn is_over(&self) -> bool {
        self.reporter.stop.is_requested() || (self.plain.options.fail_fast && self.has_failed)
    }

    fn announce(&mut self, binary: &Binary, count: usize, place: &str) {
        let tests = plural(count, "test");
        let text = format!("running {tests} of {} {place}", binary.id);
        (self.reporter.progress)(&text);
    }

    /// Runs tests on this host, so many at a time.
    fn run_here(
        &mut self,
        binary: &Binary,
        indices: Vec<usize>,
        threads: usize,
    ) -> Result<(), RunnerError> {
        if indices.is_empty() || self.is_over() {
            return Ok(());
        }
        let (plain, stop, place) = (self.plain, self.reporter.stop, HERE);
        let PlainRun { run, options, .. } = *plain;
        self.announce(binary, indices.len(), place);
        let threads = if is_serial(binary) { 1 } else { threads };
        let work_of = |index: &usize| {
            let task = &self.tasks[*index];
            let expectation = task.expectation().cloned();
            (*index, task.test, task.next_attempt(), expectation)
        };
        let mut work: Vec<_> = indices.iter().map(work_of).collect();
        if let Some(seed) = options.attempts.shuffle {
            shuffle(&mut work, seed);
        } else if threads > 1 {
            let durations = &self.durations;
            durations.sort_longest_first(&mut work, place, |(_, test, ..)| &test.id);
        }
        let (next, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (send, receive) = channel();
        // The end of an attempt, and whether the test runs again.
        type End = Option<(Ended, bool)>;
        let worker = |send: Sender<(usize, Option<End>)>| {
            let (work, next, ends) = (&work, &next, &ends);
            move || {
                let is_over = || stop.is_requested() || ends.load(Ordering::Relaxed);
                while !is_over() {
                    let Some((index, test, first, expectation)) =
                        work.get(next.fetch_add(1, Ordering::Relaxed))
                    else {
                        return;
                    };
                    for number in 1.. {
                        let _ = send.send((*index, None));
                        let mut session = LocalSession::new(binary);
                        let attempt = first + number - 1;
                        let mut ended = plain.attempt(&mut session, test, attempt, place, stop);
                        if let Some(ended) = &mut ended {
                            ended.weigh(&test.settings, expectation.as_ref());
                        }
                        let again = ended
                            .as_ref()
                            .is_some_and(|ended| runs_again(ended, test, options, number));
                        let _ = send.send((*index, Some(ended.map(|ended| (ended, again)))));
                        if !again || is_over() {
                            break;
                        }
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads.min(work.len()) {
                scope.spawn(worker(send.clone()));
            }
            // What is left are the clones of the threads.
            drop(send);
            let mut running: BTreeMap<usize, Instant> = BTreeMap::new();
            let mut outcome = Ok(());
            loop {
                let event = match receive.recv_timeout(SLOW) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Disconnected) => return outcome,
                    Err(RecvTimeoutError::Timeout) => {
                        self.print_running(&running);
                        continue;
                    }
                };
                let learned = match event {
                    (index, None) => {
                        running.insert(index, Instant::now());
                        self.tasks[index].begin(run, place)
                    }
                    (index, Some(ended)) => {
                        running.remove(&index);
                        ended.map_or(Ok(()), |(ended, again)| {
                            let ended = self.explained(index, ended);
                            self.learn(index, ended, place, again)
                        })
                    }
                };
                if learned.is_err() || self.is_over() {
                    ends.store(true, Ordering::Relaxed);
                    outcome = outcome.and(learned);
                }
            }
        })
    }

    /// Adds that the test may lack what root of a host has, and why it may lack KVM, unless it has run where
    /// KVM is or there is no such place.
    fn explained(&mut self, index: usize, mut ended: Ended) -> Ended {
        let task = &self.tasks[index];
        let Some(route) = task.routes.front() else {
            return ended;
        };
        let result = &mut ended.result;
        if self.routing.is_user_namespace[route.place] && result.outcome == Outcome::Failed {
            let lacks = || "it fails as root in a user namespace".to_owned();
            result.lacks.get_or_insert_with(lacks);
        }
        let leads_to_kvm = self.routing.leads_to_kvm(route);
        let place = self.routing.names[route.place].as_str();
        if let (true, Some(ProcessEnd::TimedOut(limit))) = (leads_to_kvm, &ended.end) {
            let observed = format!(
                "it did not end within {limit:?}: a guest of KVM that it runs may make no progress"
            );
            let reason = Reason::infrastructure(observed, place);
            ended.result.reasons.push(reason);
        }
        let had_kvm =
            leads_to_kvm || place == HERE && evaluate(&[kvm()], &Here).status == Status::Met;
        let mut binaries = self.plain.binaries.iter();
        let binary = binaries.find(|binary| binary.id == task.test.id.binary);
        if let (false, false, Some(binary)) = (had_kvm, task.for_lack_of_kvm.is_empty(), binary) {
            ended.result.lacks_kvm = self.kvm_users.lack(&ended, &binary.executable);
        }
        ended
    }

    fn learn(
        &mut self,
        index: usize,
        mut ended: Ended,
        place: &str,
        is_repeated: bool,
    ) -> Result<(), RunnerError> {
        let ended = &mut ended;
        let lacks = ended.result.lacks.is_some() || ended.result.lacks_kvm.is_some();
        let is_last = !is_repeated && (!lacks || self.tasks[index].routes.len() == 1);
        if is_last {
            ended.excuse_unstable(&self.tasks[index].test.settings);
        }
        self.print(index, ended, place);
        let task = &mut self.tasks[index];
        task.learn(ended, self.plain.run, place, is_repeated)?;
        if ended.result.lacks_kvm.is_some() {
            task.restrict_to_kvm();
        }
        self.has_failed |= ended.result.outcome.is_failure() && task.routes.is_empty();
        Ok(())
    }

    fn print(&mut self, index: usize, ended: &Ended, place: &str) {
        let id = &self.tasks[index].test.id;
        let text = screen::ended(ended, id, place);
        (self.reporter.output)(text.as_bytes());
    }

    fn print_running(&mut self, running: &BTreeMap<usize, Instant>) {
        for (index, since) in running {
            let (id, seconds) = (&self.tasks[*index].test.id, since.elapsed().as_secs());
            (self.reporter.progress)(&format!("still running after {seconds} s: {id}"));
        }
    }
}

/// Whether a test runs again on the same route: after a failure as often as it is retried, after a pass as
/// often as it is repeated.
fn runs_again(ended: &Ended, test: &PlainTest, options: &PlainOptions, number: u32) -> bool {
    let goes_on = match options.attempts.repeat.get() {
        1 => {
            ended.result.is_unexplained_failure() && ended.result.outcome != Outcome::UnexpectedPass
        }
        _ => ended.result.outcome == Outcome::Passed,
    };
    goes_on && number < options.attempts.most(test.settings.retries)
}
