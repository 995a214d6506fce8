//! Runs the plain tests of a binary in a place: in one session, or in several of them at the same time.
//!
//! Each worker has an instance of the place and one session at a time. It tells what came of its last test,
//! and is given another; all decisions are made in the thread that hands out the tests. A test that failed and
//! runs again, since an earlier one may be the reason, is given to a session in which nothing has run. After
//! a process that left something behind, the worker opens another session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::Instant;

use super::super::PlainTest;
use super::super::requirements::questions;
use super::super::result::PlainResult;
use super::super::task::{Ended, Route};
use super::{Dispatch, PlainRun, SLOW, runs_again};
use crate::error::chain;
use crate::{Binary, Place, RunnerError, Session, StopToken, UserKind};
use kata_test::__runner::shuffle;

/// The worker that has the place itself. If it cannot open a session, the place cannot be used.
const FIRST: usize = 0;

/// What was left in a worker's session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has run in it.
    Fresh,
    Used,
    /// A process has left something behind.
    Dirty,
}

/// What a worker tells.
enum Event {
    /// It waits for an order, after the test that it was given if there was one. Without an end, the run was
    /// stopped.
    Idle(State, Option<(usize, Option<Box<Ended>>)>),
    /// It cannot open a session, and ends.
    Broken(String),
    /// Something to print.
    Told(String),
}

/// What follows after a test.
enum Next {
    /// It is to run again in a fresh session.
    RunsAgain,
    /// It has failed for good.
    HasFailed,
    /// It has passed, or runs elsewhere.
    Settled,
}

/// What a worker is to do.
enum Order<'a> {
    /// A test, and the number of its attempt.
    Run(usize, &'a PlainTest, u32),
    /// Saves the session's guest: this test, the last, has failed for good.
    Save(&'a PlainTest),
    /// Opens another session.
    Reopen,
    End,
}

/// The tests that are left.
#[derive(Default)]
struct Queue {
    /// Those that run again.
    again: VecDeque<usize>,
    waiting: VecDeque<usize>,
    /// How often each test has run.
    attempts: BTreeMap<usize, u32>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.again.is_empty() && self.waiting.is_empty()
    }

    /// Returns the next test for a session, if one is left that may run in it.
    fn next(&mut self, state: State) -> Option<usize> {
        match state {
            State::Fresh => self.again.pop_front().or_else(|| self.waiting.pop_front()),
            State::Used => self.waiting.pop_front(),
            State::Dirty => None,
        }
    }

    /// Counts an attempt of a test, and returns its number, from 1.
    fn count(&mut self, index: usize) -> u32 {
        let number = self.attempts.entry(index).or_default();
        *number += 1;
        *number
    }
}

/// What all workers need.
struct Work<'a> {
    binary: &'a Binary,
    user: UserKind,
    name: &'a str,
    plain: &'a PlainRun<'a>,
    stop: StopToken<'a>,
}

impl Work<'_> {
    /// Follows orders until the last.
    fn follow(&self, place: &mut dyn Place, orders: &Receiver<Order<'_>>, tell: &dyn Fn(Event)) {
        loop {
            let mut session = match place.open(self.binary, self.user, self.stop) {
                Ok(session) => session,
                Err(error) => return tell(Event::Broken(chain(&*error))),
            };
            tell(Event::Idle(State::Fresh, None));
            loop {
                match orders.recv() {
                    Ok(Order::Run(index, test, number)) => {
                        let (plain, stop) = (self.plain, self.stop);
                        let ended = plain.attempt(&mut *session, test, number, self.name, stop);
                        let ended = ended.map(Box::new);
                        tell(Event::Idle(state_of(&mut *session), Some((index, ended))));
                    }
                    Ok(Order::Save(test)) => {
                        let told = session.save(self.plain.run, &test.id);
                        told.map(Event::Told).into_iter().for_each(tell);
                        tell(Event::Idle(state_of(&mut *session), None));
                    }
                    Ok(Order::Reopen) => break,
                    Ok(Order::End) | Err(_) => return,
                }
            }
        }
    }
}

fn state_of(session: &mut dyn Session) -> State {
    match session.is_clean() {
        true => State::Used,
        false => State::Dirty,
    }
}

/// Starts a worker. Returns where it gets its orders.
fn start<'scope, 'test: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope Work<'_>,
    worker: usize,
    place: &'scope mut dyn Place,
    tell: &Sender<(usize, Event)>,
) -> Sender<Order<'test>> {
    let (send, receive) = channel();
    let tell = tell.clone();
    scope.spawn(move || {
        work.follow(place, &receive, &|event| drop(tell.send((worker, event))));
    });
    send
}

/// The instances of further workers, and where they tell.
type NotStarted<'scope> = (Sender<(usize, Event)>, &'scope mut [Box<dyn Place>]);

/// Starts the workers of further instances, once.
fn start_others<'scope, 'test: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope Work<'_>,
    others: &mut Option<NotStarted<'scope>>,
    orders: &mut Vec<Sender<Order<'test>>>,
) {
    let Some((tell, others)) = others.take() else {
        return;
    };
    for other in others {
        orders.push(start(scope, work, orders.len(), other.as_mut(), &tell));
    }
}

impl Dispatch<'_, '_, '_> {
    /// Runs tests in a place: those that may run at the same time as others in several sessions, if that is a
    /// gain, and then the others.
    pub(super) fn run_there(
        &mut self,
        place: &mut dyn Place,
        route: Route,
        binary: &Binary,
        indices: Vec<usize>,
    ) -> Result<(), RunnerError> {
        let name = place.name().to_owned();
        let requires = indices
            .iter()
            .map(|at| &self.tasks[*at].test.settings.requires);
        let binary = &Binary {
            questions: requires.flat_map(|of_test| questions(of_test)).collect(),
            ..binary.clone()
        };
        let text = format!("in {name} as {}", route.user);
        self.announce(binary, indices.len(), &text);
        let work = Work {
            binary,
            user: route.user,
            name: &name,
            plain: self.plain,
            stop: self.reporter.stop,
        };
        let is_alone = |at: &usize| self.tasks[*at].test.settings.alone;
        let (alone, mut shared) = indices.into_iter().partition::<Vec<_>, _>(is_alone);
        let expected = shared
            .iter()
            .map(|at| self.durations.of(&self.tasks[*at].test.id, &name));
        let count = self.plain.options.vms.count(expected, place.cost());
        let others = (1..count).map_while(|_| place.another());
        let mut others: Vec<Box<dyn Place>> = others.collect();
        if !others.is_empty() {
            let mut tests: Vec<(usize, &PlainTest)> = shared
                .iter()
                .map(|at| (*at, self.tasks[*at].test))
                .collect();
            self.durations
                .sort_longest_first(&mut tests, &name, |(_, test)| &test.id);
            shared = tests.into_iter().map(|(at, _)| at).collect();
        }
        let mut broken = None;
        for mut tests in [shared, alone] {
            if let Some(seed) = self.plain.options.attempts.shuffle {
                shuffle(&mut tests, seed);
            }
            let mut queue = Queue {
                waiting: tests.into(),
                ..Queue::default()
            };
            // For a second time if another instance has left a test.
            while broken.is_none() && !queue.is_empty() && !self.is_over() {
                broken = self.run_queue(place, &mut others, &work, &mut queue)?;
                others.clear();
            }
            if let Some(why) = &broken {
                for index in queue.again.into_iter().chain(queue.waiting) {
                    self.tasks[index].learn_broken(&name, why);
                }
            }
        }
        Ok(())
    }

    /// Hands out tests. Returns why the place cannot be used, if it cannot.
    fn run_queue(
        &mut self,
        place: &mut dyn Place,
        others: &mut [Box<dyn Place>],
        work: &Work<'_>,
        queue: &mut Queue,
    ) -> Result<Option<String>, RunnerError> {
        let (tell, told) = channel();
        thread::scope(|scope| {
            // Unless the place came up before, they start after the first session: a place that does not come up is
            // tried once, and the template is there.
            let is_known = place.has_started();
            let mut orders = vec![start(scope, work, FIRST, place, &tell)];
            let mut starting = Some((tell, others));
            if is_known {
                start_others(scope, work, &mut starting, &mut orders);
            }
            let (mut running, mut broken) = (BTreeMap::new(), None);
            let mut outcome = Ok(());
            loop {
                let (worker, event) = match told.recv_timeout(SLOW) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Disconnected) => return outcome.map(|()| broken),
                    Err(RecvTimeoutError::Timeout) => {
                        self.print_running(&running);
                        continue;
                    }
                };
                let mut not_started = starting.take();
                let (mut state, ended) = match event {
                    Event::Idle(state, ended) => (state, ended),
                    Event::Told(text) => {
                        (self.reporter.progress)(&text);
                        starting = not_started;
                        continue;
                    }
                    Event::Broken(why) => {
                        let name = work.name;
                        if worker == FIRST {
                            (self.reporter.progress)(&format!("{name} cannot be used: {why}"));
                            broken = Some(why);
                        } else {
                            let text = format!("{name} runs fewer tests at the same time: {why}");
                            (self.reporter.progress)(&text);
                        }
                        continue;
                    }
                };
                start_others(scope, work, &mut not_started, &mut orders);
                if let Some((index, ended)) = ended {
                    running.remove(&index);
                    let learned = ended.map(|ended| self.learn_there(index, *ended, work, queue));
                    match learned.transpose() {
                        Ok(Some(Next::RunsAgain)) => state = State::Dirty,
                        Ok(Some(Next::HasFailed)) if self.plain.run.saves_guests() => {
                            let _ = orders[worker].send(Order::Save(self.tasks[index].test));
                            continue;
                        }
                        Ok(_) => {}
                        Err(error) => outcome = Err(error),
                    }
                }
                let is_over = outcome.is_err() || broken.is_some() || self.is_over();
                let next = match is_over {
                    true => None,
                    false => queue.next(state),
                };
                let order = match next {
                    Some(index) => {
                        running.insert(index, Instant::now());
                        let task = &mut self.tasks[index];
                        outcome = task.begin(self.plain.run, work.name);
                        Order::Run(index, task.test, task.next_attempt())
                    }
                    None if is_over || queue.is_empty() => Order::End,
                    None => Order::Reopen,
                };
                // A worker waits for its order.
                let _ = orders[worker].send(order);
            }
        })
    }

    /// Takes in what came of a test.
    fn learn_there(
        &mut self,
        index: usize,
        ended: Ended,
        work: &Work<'_>,
        queue: &mut Queue,
    ) -> Result<Next, RunnerError> {
        let mut ended = self.explained(index, ended);
        let task = &self.tasks[index];
        ended.weigh(&task.test.settings, task.expectation());
        let PlainResult {
            outcome, reasons, ..
        } = &mut ended.result;
        let warnings = self.plain.run.kernel_warnings();
        ended.kernel_log.apply(warnings, outcome, reasons);
        // What an earlier test has left in the place may be the reason.
        let number = queue.count(index);
        let may_be_the_place = number == 1 && ended.result.is_unexplained_failure();
        let test = self.tasks[index].test;
        let is_repeated = may_be_the_place || runs_again(&ended, test, self.plain.options, number);
        if is_repeated {
            queue.again.push_back(index);
        }
        let has_failed = ended.result.outcome.is_failure();
        self.learn(index, ended, work.name, is_repeated)?;
        Ok(match is_repeated {
            true => Next::RunsAgain,
            false if has_failed && self.tasks[index].routes.is_empty() => Next::HasFailed,
            false => Next::Settled,
        })
    }
}
