//! What a running operation works on: the records, and the queue of actions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use iothread_pool::{DeviceId, IoThreadId, Pool};
use qmp_client::command::QomList;
use qmp_client::wait::Deadline;
use qmp_client::{Capabilities, Command, QmpError, Request};
use serde_json::Value;

use crate::action::{Action, Answer, CommandId, GuestDisk, OperationId, Presence, QuestionId};
use crate::disk::BlockOptions;
use crate::iothread::Polling;
use crate::state::{Device, DiskState, News, Node, Subject};
use crate::wire::{self, read_reply};

/// Everything but the operations.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) pool: Pool,
    pub(crate) options: BlockOptions,
    pub(crate) capabilities: Capabilities,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) nodes: BTreeMap<DeviceId, Node>,
    /// Ids of devices that were closed before their DEVICE_DELETED came. QEMU sends it when the device's memory is
    /// free, after it is listed no more: by then another device may have the id. No id is ever removed, since an
    /// event does not tell of which device it is, and may be lost.
    pub(crate) events_to_come: BTreeSet<DeviceId>,
    /// Threads that QEMU may have, and that are not in the pool.
    pub(crate) stray_threads: BTreeSet<IoThreadId>,
    /// The polling of each thread that was not made with QEMU's defaults.
    pub(crate) polling: BTreeMap<IoThreadId, Polling>,
    /// Who works on what.
    pub(crate) busy: BTreeMap<Subject, OperationId>,
    pub(crate) actions: VecDeque<Action>,
    /// Why there is no connection.
    pub(crate) lost: Option<String>,
    pub(crate) newest_events: VecDeque<String>,
    /// How often events may have been missed.
    pub(crate) event_losses: u64,
    next: u64,
}

impl Core {
    pub(crate) fn new(pool: Pool, options: BlockOptions, capabilities: Capabilities) -> Self {
        Self {
            pool,
            options,
            capabilities,
            devices: BTreeMap::new(),
            nodes: BTreeMap::new(),
            events_to_come: BTreeSet::new(),
            stray_threads: BTreeSet::new(),
            polling: BTreeMap::new(),
            busy: BTreeMap::new(),
            actions: VecDeque::new(),
            lost: None,
            newest_events: VecDeque::new(),
            event_losses: 0,
            next: 0,
        }
    }

    /// Returns a number that was not returned before.
    pub(crate) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn is_busy(&self, device: &DeviceId) -> bool {
        self.busy.contains_key(&Subject::Device(device.clone()))
    }

    /// Returns the names of the newest events, for messages.
    pub(crate) fn event_names(&self) -> String {
        if self.newest_events.is_empty() {
            return "none".into();
        }
        let names: Vec<&str> = self.newest_events.iter().map(String::as_str).collect();
        names.join(", ")
    }

    /// Takes back a question that nobody waits for any more.
    pub(crate) fn forget_question(&mut self, wait: Wait) {
        if let Wait::Answer(question) = wait {
            let is_it =
                |action: &Action| matches!(action, Action::AskGuest { id, .. } if *id == question);
            self.actions.retain(|action| !is_it(action));
        }
    }

    /// Notes that the events of devices and exports may have been missed.
    pub(crate) fn note_missed_events(&mut self) {
        self.event_losses += 1;
        for device in self.devices.values_mut() {
            device.unsure = device.state.has_device();
        }
        for node in self.nodes.values_mut() {
            node.unsure = true;
        }
    }

    /// Returns the error of a wait without a connection.
    pub(crate) fn closed(&self, wait: Wait) -> QmpError {
        QmpError::Closed {
            awaited: match wait {
                Wait::Reply(_, command) => format!("the reply to {command}"),
                Wait::Answer(_) | Wait::Event => "an event".into(),
            },
            why: self.lost.clone().unwrap_or_default(),
        }
    }

    /// Drops the record of a device that QEMU has no more.
    pub(crate) fn forget_device(&mut self, id: &DeviceId) {
        self.note_event_to_come(id);
        self.devices.remove(id);
    }

    /// Notes the id of a device that QEMU lists no more, if its DEVICE_DELETED has not come.
    fn note_event_to_come(&mut self, id: &DeviceId) {
        let device = self.devices.get(id);
        if device.is_some_and(|device| device.news == Some(News::Unlisted)) {
            self.events_to_come.insert(id.clone());
        }
    }

    /// Notes which devices QEMU lists, of those that were made before it was asked.
    pub(crate) fn note_listed(&mut self, listed: &BTreeSet<String>, asked: u64) {
        for (id, device) in &mut self.devices {
            let is_listed = listed.contains(id.as_str());
            if device.state.has_device() && device.since < asked {
                device.note_listed(is_listed);
            }
        }
    }

    /// Has the list of devices read before the next step of each device that no operation has.
    pub(crate) fn note_missed_list(&mut self) {
        for (id, device) in &mut self.devices {
            if !self.busy.contains_key(&Subject::Device(id.clone())) {
                device.unsure = device.state.has_device();
            }
        }
    }
}

/// What an operation gets.
#[derive(Debug)]
pub(crate) enum Input {
    /// It starts.
    Start,
    /// The reply to its command. That none came in time is one of the errors.
    Reply(Result<Value, QmpError>),
    /// The answer to its question.
    Answer(Answer),
    /// Something has come that it may wait for.
    Look,
    /// What it waits for, other than a reply, did not come in time.
    TimedOut,
}

/// What an operation waits for. A wait for an event ends at the operation's deadline too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Reply(CommandId, &'static str),
    Answer(QuestionId),
    Event,
}

/// How far a step has come.
#[derive(Debug)]
pub(crate) enum Progress<T> {
    Waits(Wait),
    Done(T),
}

/// One operation's access to the records.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) operation: OperationId,
    pub(crate) deadline: Deadline,
}

impl Context<'_> {
    /// Gives out a command. Without a connection its reply is an error at once, through
    /// [`Hotplug`](crate::Hotplug).
    pub(crate) fn send<C: Command, T>(&mut self, command: &C) -> Progress<T> {
        self.request(wire::request(command))
    }

    pub(crate) fn request<T>(&mut self, command: Request) -> Progress<T> {
        let id = CommandId(self.core.next());
        let name = command.name();
        if self.core.lost.is_none() {
            self.core.actions.push_back(Action::Send { id, command });
        }
        Progress::Waits(Wait::Reply(id, name))
    }

    /// Gives out a question to the guest.
    pub(crate) fn ask<T>(&mut self, disk: &GuestDisk, awaited: Presence) -> Progress<T> {
        let id = QuestionId(self.core.next());
        let disk = disk.clone();
        self.core
            .actions
            .push_back(Action::AskGuest { id, disk, awaited });
        Progress::Waits(Wait::Answer(id))
    }

    /// Claims a device for this operation. Returns whether it is free, or is this operation's.
    pub(crate) fn claim(&mut self, device: &DeviceId) -> bool {
        let subject = Subject::Device(device.clone());
        *self.core.busy.entry(subject).or_insert(self.operation) == self.operation
    }

    /// Claims a thread, as [`claim`](Self::claim) does a device.
    pub(crate) fn claim_thread(&mut self, thread: &IoThreadId) -> bool {
        let subject = Subject::Thread(thread.clone());
        *self.core.busy.entry(subject).or_insert(self.operation) == self.operation
    }

    /// Reads the list of devices that QEMU was asked for then. If it does not come, events are still
    /// missed.
    pub(crate) fn note_listed(
        &mut self,
        reply: Result<Value, QmpError>,
        asked: u64,
    ) -> Result<(), QmpError> {
        match reply.and_then(read_reply::<QomList<'_>>) {
            Ok(listed) => {
                let listed = listed.into_iter().map(|device| device.name).collect();
                self.core.note_listed(&listed, asked);
                Ok(())
            }
            Err(error) => {
                self.core.note_missed_list();
                Err(error)
            }
        }
    }

    /// Returns the error of a wait that has lasted until the deadline.
    pub(crate) fn timed_out(&self, awaited: String) -> QmpError {
        QmpError::TimedOut {
            awaited,
            deadline: self.deadline,
            last_events: self.core.event_names(),
        }
    }

    /// Records a device before it is made.
    pub(crate) fn record(
        &mut self,
        id: &DeviceId,
        state: DiskState,
        node: Option<&Value>,
        device: &Value,
    ) {
        let since = self.core.next();
        let device = Device::new(state, node.cloned(), device.clone(), since);
        self.core.devices.insert(id.clone(), device);
    }

    /// Sets how much QEMU has of a device at the most.
    pub(crate) fn reached(&mut self, id: &DeviceId, state: DiskState) {
        self.core.note_event_to_come(id);
        if let Some(device) = self.core.devices.get_mut(id) {
            device.state = state;
            device.news = None;
        }
    }
}
