//! The state machine: operations are started, actions come out, and what they lead to goes in.
//!
//! It does no I/O and has no clock: the driver says what time it is. Each record is written before
//! the command is given out, so what QEMU can have is known at every moment, also if an operation
//! is cancelled, or the manager ends and goes on from its [saved state](crate::Saved).

mod operations;
mod settle;
mod started;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use iothread_pool::{DeviceId, IoThreadId, Pool};
use qmp_client::wait::Deadline;
use qmp_client::{Capabilities, Event, QemuVersion, QmpError};
use serde_json::Value;

use crate::action::{Action, Answer, CommandId, OperationId, QuestionId};
use crate::context::{Context, Core, Input, Progress, Wait};
use crate::disk::BlockOptions;
use crate::error::{DetachError, Step, UnplugProgress, failed};
use crate::state::{DiskState, News, Subject};
use crate::task::{Done, Outcome, Task};

pub use self::started::{FromOutcome, Started};

/// How many names of events a message has.
const NAMED_EVENTS: usize = 5;

/// The devices of one VM, the pool that allocates their threads and slots, and the operations that
/// have not ended.
///
/// Operations are independent: one that waits delays no other. One at a time works on a device.
#[derive(Debug)]
pub struct Hotplug {
    pub(crate) core: Core,
    operations: BTreeMap<OperationId, Operation>,
    settles: BTreeMap<OperationId, Settle>,
    outcomes: Vec<(OperationId, Outcome)>,
}

#[derive(Debug)]
struct Operation {
    deadline: Deadline,
    task: Task,
    wait: Wait,
}

/// The removals that a settle completes.
#[derive(Debug)]
struct Settle {
    deadline: Deadline,
    open: BTreeSet<OperationId>,
    progress: UnplugProgress,
    failed: Vec<DetachError>,
}

impl Hotplug {
    /// Starts with no device.
    pub fn new(pool: Pool, options: BlockOptions, qemu: QemuVersion) -> Self {
        Self {
            core: Core::new(pool, options, Capabilities::new(qemu)),
            operations: BTreeMap::new(),
            settles: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Returns the pool.
    pub fn pool(&self) -> &Pool {
        &self.core.pool
    }

    /// Returns what QEMU has of a device at the most. `None`: nothing.
    pub fn state_of(&self, id: &DeviceId) -> Option<DiskState> {
        self.core.devices.get(id).map(|device| device.state)
    }

    /// Returns the devices that QEMU has something of.
    pub fn disks(&self) -> impl Iterator<Item = (&DeviceId, DiskState)> {
        self.core
            .devices
            .iter()
            .map(|(id, device)| (id, device.state))
    }

    /// Returns the threads that QEMU may have though the pool has not: its answer to `object-add` or
    /// `object-del` was lost. They serve no device; [`remove_thread`](Self::remove_thread) removes them.
    pub fn stray_threads(&self) -> impl Iterator<Item = &IoThreadId> {
        self.core.stray_threads.iter()
    }

    /// Returns the operations that have not ended.
    pub fn operations(&self) -> impl Iterator<Item = OperationId> {
        let hidden =
            |id: &OperationId| self.settles.values().any(|settle| settle.open.contains(id));
        let running = self.operations.keys().copied();
        let settles = self.settles.keys().copied();
        let running = running.filter(move |id| !hidden(id));
        settles.chain(running).collect::<BTreeSet<_>>().into_iter()
    }

    /// Ends an operation without its outcome. What it has begun stays recorded: a device keeps its
    /// thread and slot, and [`detach`](Self::detach) or [`settle`](Self::settle) takes away what
    /// QEMU has of it. Commands that were given out must still be sent.
    pub fn cancel(&mut self, operation: OperationId) {
        if let Some(settle) = self.settles.remove(&operation) {
            for child in settle.open {
                self.cancel(child);
            }
        }
        let Some(cancelled) = self.operations.remove(&operation) else {
            return;
        };
        self.core.forget_question(cancelled.wait);
        let (core, is_list) = (&mut self.core, cancelled.task.is_list());
        let busy = std::mem::take(&mut core.busy);
        let (owned, others) = busy.into_iter().partition(|(_, owner)| *owner == operation);
        core.busy = others;
        let owned: BTreeMap<Subject, OperationId> = owned;
        if is_list {
            core.note_missed_list();
        }
        // A list that it has asked for is not read.
        for subject in owned.keys() {
            if let Subject::Device(id) = subject
                && let Some(device) = core.devices.get_mut(id)
            {
                device.unsure = device.state.has_device();
            }
        }
    }

    /// Returns what the driver has to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// Returns the questions whose answers are awaited.
    #[cfg(feature = "tokio")]
    pub(crate) fn questions(&self) -> impl Iterator<Item = QuestionId> {
        self.operations
            .values()
            .filter_map(|operation| match operation.wait {
                Wait::Answer(question) => Some(question),
                Wait::Reply(..) | Wait::Event => None,
            })
    }

    /// Returns how many operations have ended whose outcome was not taken.
    #[cfg(feature = "tokio")]
    pub(crate) fn ended(&self) -> usize {
        self.outcomes.len()
    }

    /// Returns an operation that has ended.
    pub fn poll_outcome(&mut self) -> Option<(OperationId, Outcome)> {
        (!self.outcomes.is_empty()).then(|| self.outcomes.remove(0))
    }

    /// Returns the moment by which [`pass_time`](Self::pass_time) has to be called.
    pub fn wake_at(&self) -> Option<Instant> {
        let deadlines = self.operations.values();
        deadlines
            .filter_map(|operation| operation.deadline.at())
            .min()
    }

    /// Ends the waits whose deadline has passed.
    pub fn pass_time(&mut self, now: Instant) {
        let late = self.operations.iter();
        let late = late.filter(|(_, operation)| operation.deadline.has_passed_at(now));
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        for id in late {
            if let Some(Operation {
                deadline,
                task,
                wait,
            }) = self.operations.remove(&id)
            {
                let input = self.expired(deadline, wait);
                self.run(id, task, deadline, input, now);
            }
        }
    }

    /// Takes the reply to a command. Any error but [`QmpError::Refused`] means that QEMU may have
    /// executed it. The reply to a command that nobody waits for any more is dropped.
    pub fn reply(&mut self, command: CommandId, reply: Result<Value, QmpError>, now: Instant) {
        let mut operations = self.operations.iter();
        let awaited = operations
            .find(|(_, operation)| matches!(operation.wait, Wait::Reply(id, _) if id == command));
        if let Some(id) = awaited.map(|(id, _)| *id) {
            self.resume(id, Input::Reply(reply), now);
        }
    }

    /// Takes the answer to a question. One that nobody waits for any more is dropped.
    pub fn answer(&mut self, question: QuestionId, answer: Answer, now: Instant) {
        let mut operations = self.operations.iter();
        let awaited = operations.find(|(_, operation)| operation.wait == Wait::Answer(question));
        if let Some(id) = awaited.map(|(id, _)| *id) {
            self.resume(id, Input::Answer(answer), now);
        }
    }

    /// Takes an event. Give all of them, in their order among the replies.
    pub fn event(&mut self, event: &Event, now: Instant) {
        let names = &mut self.core.newest_events;
        names.push_back(event.name.clone());
        if names.len() > NAMED_EVENTS {
            names.pop_front();
        }
        if let Some((id, news)) = News::of(event) {
            let mut devices = self.core.devices.iter_mut();
            let Some((id, device)) = devices.find(|(known, _)| known.as_str() == id) else {
                return;
            };
            device.note_event(news);
            let id = id.clone();
            self.look(now, |operation| match operation.wait {
                Wait::Event => true,
                Wait::Answer(_) => news.is_gone() && operation.task.plugs(&id),
                Wait::Reply(..) => false,
            });
        } else if event.name == "BLOCK_EXPORT_DELETED" {
            let mut nodes = self.core.nodes.iter_mut();
            let ended = nodes.find(|(known, _)| event.str("id") == Some(known.as_str()));
            if let Some((_, node)) = ended {
                node.export_deleted = true;
                self.look(now, |operation| operation.wait == Wait::Event);
            }
        }
    }

    /// Notes that events may have been missed. What waits for one queries QEMU.
    pub fn events_lost(&mut self, now: Instant) {
        self.core.note_missed_events();
        self.look(now, |operation| !matches!(operation.wait, Wait::Reply(..)));
    }

    /// Notes that the connection has ended. What waits for QEMU ends with an error, and so does
    /// everything that is started before the connection is [resumed](Self::connection_resumed).
    /// Nothing is forgotten: QEMU may have executed what was given out.
    pub fn connection_lost(&mut self, why: &str, now: Instant) {
        self.core.lost = Some(why.to_owned());
        self.core.note_missed_events();
        let actions = &mut self.core.actions;
        actions.retain(|action| !matches!(action, Action::Send { .. }));
        let waiting = self.operations.iter();
        let waiting = waiting.filter(|(_, o)| !matches!(o.wait, Wait::Answer(_)));
        let waiting: Vec<_> = waiting.map(|(id, o)| (*id, o.wait)).collect();
        for (id, wait) in waiting {
            let closed = self.core.closed(wait);
            self.resume(id, Input::Reply(Err(closed)), now);
        }
    }

    /// Notes that there is a connection again. Events may have been missed meanwhile, so QEMU is
    /// queried before the next step of each device. [`reconcile`](Self::reconcile) finds more.
    pub fn connection_resumed(&mut self) {
        self.core.lost = None;
    }

    fn start<R>(&mut self, task: Task, deadline: Deadline, now: Instant) -> Started<R> {
        let id = OperationId(self.core.next());
        self.run(id, task, deadline, Input::Start, now);
        Started::new(id)
    }

    /// Gives an operation what it waits for.
    fn resume(&mut self, id: OperationId, input: Input, now: Instant) {
        if let Some(Operation {
            deadline,
            task,
            wait,
        }) = self.operations.remove(&id)
        {
            self.core.forget_question(wait);
            self.run(id, task, deadline, input, now);
        }
    }

    /// Has operations look at what has come.
    fn look(&mut self, now: Instant, concerned: impl Fn(&Operation) -> bool) {
        let looking = self.operations.iter();
        let looking = looking.filter(|(_, operation)| concerned(operation));
        let looking: Vec<_> = looking.map(|(id, _)| *id).collect();
        for id in looking {
            self.resume(id, Input::Look, now);
        }
    }

    /// Runs an operation until it has to wait.
    fn run(
        &mut self,
        id: OperationId,
        mut task: Task,
        deadline: Deadline,
        mut input: Input,
        now: Instant,
    ) {
        loop {
            let mut cx = Context {
                core: &mut self.core,
                operation: id,
                deadline,
            };
            let wait = match task.step(&mut cx, input) {
                Progress::Waits(wait) => wait,
                Progress::Done(done) => {
                    self.core.busy.retain(|_, owner| *owner != id);
                    return self.finish(id, done, now);
                }
            };
            if self.core.lost.is_some() && !matches!(wait, Wait::Answer(_)) {
                input = Input::Reply(Err(self.core.closed(wait)));
            } else if deadline.has_passed_at(now) {
                input = self.expired(deadline, wait);
            } else {
                let operation = Operation {
                    deadline,
                    task,
                    wait,
                };
                self.operations.insert(id, operation);
                return;
            }
        }
    }

    /// Returns what an operation gets when its time is up.
    fn expired(&mut self, deadline: Deadline, wait: Wait) -> Input {
        self.core.forget_question(wait);
        match wait {
            Wait::Reply(_, command) => Input::Reply(Err(QmpError::TimedOut {
                awaited: format!("the reply to {command}"),
                deadline,
                last_events: self.core.event_names(),
            })),
            Wait::Answer(_) | Wait::Event => Input::TimedOut,
        }
    }

    fn finish(&mut self, id: OperationId, done: Done, now: Instant) {
        match done {
            Done::Outcome(outcome) => self.outcomes.push((id, outcome)),
            Done::Listed(Ok(())) => self.complete(id, now),
            Done::Listed(Err(error)) => {
                let mut devices = self.core.devices.iter();
                let unsure = devices.find(|(_, device)| device.state.has_device());
                let error = unsure.map(|(device, _)| failed(device, Step::DeviceDeleted, error));
                if let Some(settle) = self.settles.get_mut(&id) {
                    settle.failed.extend(error);
                }
                self.complete(id, now);
            }
            Done::Completed {
                settle: of,
                removed,
                error,
            } => {
                if let Some(settle) = self.settles.get_mut(&of) {
                    settle.open.remove(&id);
                    settle.progress.removed.extend(removed);
                    match error {
                        Some(DetachError::Pending { device, .. }) => {
                            settle.progress.in_use.push(device);
                        }
                        error => settle.failed.extend(error),
                    }
                    if settle.open.is_empty() {
                        self.end_settle(of);
                    }
                }
            }
        }
    }
}
