//! The machine, a QEMU, a guest, and the connection between them, which fails at random.

mod faults;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use iothread_pool::{Allocation, DeviceId, IoThreadId, Placement, Pool, SlotTable};
use qmp_client::wait::Deadline;
use qmp_client::{Event, QemuVersion, QmpError, Request};
use serde_json::Value;

use super::qemu::{Qemu, refuse_as};
use crate::tests::options;
use crate::{
    Action, Answer, CommandId, DiskSpec, Hotplug, Outcome, Polling, Presence, QuestionId,
    ScsiController,
};

const THREADS: usize = 3;
const SLOTS: usize = 4;
const IDS: [&str; 8] = [
    "hd0", "hd1", "disk0", "disk1", "disk2", "scsi0", "balloon0", "node0",
];

/// A line from QEMU.
enum Line {
    Reply(CommandId, Result<Value, QmpError>),
    Event(Event),
}

/// What happens at a step, where nothing is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// QEMU refuses the command.
    Refused,
    /// QEMU does not hear it.
    NotHeard,
    /// It is executed, and the reply is lost.
    ReplyLost,
    /// The reply comes after the deadline.
    Late,
    /// The reply and the events come twice.
    Doubled,
    /// The events of the command are lost in a flood.
    Flood,
    /// The connection ends before it.
    ClosedBefore,
    /// The connection ends once it is executed.
    ClosedAfter,
    /// The operation is cancelled before its reply.
    Cancelled,
    /// The manager ends before the reply, and goes on from its saved state.
    Restarted,
}

impl Fault {
    pub(super) const ALL: [Self; 10] = [
        Self::Refused,
        Self::NotHeard,
        Self::ReplyLost,
        Self::Late,
        Self::Doubled,
        Self::Flood,
        Self::ClosedBefore,
        Self::ClosedAfter,
        Self::Cancelled,
        Self::Restarted,
    ];
}

impl Line {
    /// Returns the same line, but for an error.
    fn again(&self) -> Option<Self> {
        match self {
            Self::Reply(id, Ok(value)) => Some(Self::Reply(*id, Ok(value.clone()))),
            Self::Reply(_, Err(_)) => None,
            Self::Event(event) => Some(Self::Event(event.clone())),
        }
    }
}

pub(in crate::tests) struct World {
    /// The fault, and how many commands come before it.
    pub(super) armed: Option<(usize, Fault)>,
    /// The commands that QEMU has got.
    pub(super) heard: Vec<&'static str>,
    random: u64,
    seed: u64,
    /// Which of the ids are used: with few of them, a device soon has the id of an earlier one.
    first_id: usize,
    used_ids: usize,
    hotplug: Hotplug,
    pub(super) qemu: Qemu,
    to_qemu: VecDeque<(CommandId, Request)>,
    from_qemu: VecDeque<Line>,
    questions: VecDeque<(QuestionId, String, Presence)>,
    now: Instant,
    is_connected: bool,
    /// Whether nothing goes wrong any more.
    calm: bool,
    counts: [u64; 4],
    traces: bool,
    trace: Vec<String>,
}

impl World {
    pub(in crate::tests) fn new(seed: u64) -> Self {
        let threads: Vec<_> = (0..THREADS).map(IoThreadId::indep).collect();
        let qemu = Qemu::with_threads(threads.iter().map(ToString::to_string));
        let pool = Pool::new(threads, SlotTable::root_ports(SLOTS)).unwrap();
        let mut world = Self {
            armed: None,
            heard: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            seed,
            first_id: 0,
            used_ids: IDS.len(),
            hotplug: Hotplug::new(pool, options(), QemuVersion::MAPS_SCSI_QUEUES),
            qemu,
            to_qemu: VecDeque::new(),
            from_qemu: VecDeque::new(),
            questions: VecDeque::new(),
            now: Instant::now(),
            is_connected: true,
            calm: false,
            counts: [0; 4],
            traces: false,
            trace: Vec::new(),
        };
        world.first_id = world.below(IDS.len());
        world.used_ids = 1 + world.below(IDS.len());
        world
    }

    /// Keeps what happens, for the message of a failure.
    pub(super) fn traced(mut self, traces: bool) -> Self {
        self.traces = traces;
        self
    }

    /// Runs so many steps, ends the trouble, and takes everything away. Returns how many operations
    /// were started, how many succeeded, how many faults there were, and how many were cancelled.
    pub(super) fn run(mut self, steps: u32) -> [u64; 4] {
        for step in 0..steps {
            self.step();
            self.check();
            #[cfg(feature = "serde")]
            if step % 16 == 15 {
                self.checks_json();
            }
            #[cfg(not(feature = "serde"))]
            let _ = step;
        }
        self.recovers();
        self.counts
    }

    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }

    fn one_in(&mut self, limit: usize) -> bool {
        !self.calm && self.below(limit) == 0
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.traces {
            self.trace.push(what());
        }
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=3 => self.start(),
            4..=8 => self.run_command(),
            9..=13 => self.read_line(),
            14 | 15 => self.guest_acts(),
            16 | 17 => self.answer(),
            18 => self.disturb(),
            _ => {
                let longer = self.below(40) as u64;
                self.now += Duration::from_millis(1 + longer);
                self.hotplug.pass_time(self.now);
            }
        }
        self.take();
    }

    /// Takes what the machine gives out.
    fn take(&mut self) {
        while let Some(action) = self.hotplug.poll_action() {
            self.say(|| format!("{action:?}"));
            match action {
                Action::Send { id, command } => self.to_qemu.push_back((id, command)),
                Action::AskGuest { id, disk, awaited } => {
                    self.questions.push_back((id, disk.id.to_string(), awaited));
                }
            }
        }
        while let Some((id, outcome)) = self.hotplug.poll_outcome() {
            self.say(|| format!("{id:?}: {outcome:?}"));
            self.counts[1] += u64::from(succeeded(&outcome));
        }
    }

    fn start(&mut self) {
        self.counts[0] += 1;
        let span = Duration::from_millis(5 + self.below(100) as u64);
        let (by, now) = (Deadline::starting(self.now, span), self.now);
        let id = IDS[(self.first_id + self.below(self.used_ids)) % IDS.len()];
        let id = DeviceId::new(id).unwrap();
        let place = self.placement();
        let disk = DiskSpec {
            queues: Some(2),
            ..DiskSpec::new(id.clone(), "/image")
        };
        let thread = IoThreadId::indep(self.below(THREADS + 2));
        let choice = self.below(12);
        self.say(|| format!("choice {choice} for {id}, {place:?}, {thread}"));
        let hotplug = &mut self.hotplug;
        match (id.as_str(), choice) {
            (_, 0) => hotplug.settle(by, now).id(),
            (_, 1) => hotplug.add_thread(Polling::default(), by, now).id(),
            (_, 2) => hotplug.remove_thread(&thread, by, now).id(),
            (_, 3) => hotplug.reconcile(by, now).id(),
            ("hd0" | "hd1", 4..=8) => hotplug
                .attach_on(&DeviceId::new("scsi0").unwrap(), &disk, by, now)
                .id(),
            ("scsi0", 4..=8) => hotplug
                .attach_controller(&ScsiController::new(id), &place, by, now)
                .id(),
            ("balloon0", 4..=8) => hotplug.attach_balloon(&id, &place, by, now).id(),
            ("node0", 4 | 5) => hotplug.open_node(&disk, &place, by, now).id(),
            ("node0", 6 | 7) => hotplug.export(&disk, &place, by, now).id(),
            ("node0", 8) => hotplug.move_node(&id, &place, by, now).id(),
            ("node0", _) => hotplug.close_node(&id, by, now).id(),
            (_, 4..=7) => hotplug.attach(&disk, &place, by, now).id(),
            (_, 8) => hotplug.move_disk(&disk, &place, by, now).id(),
            _ => hotplug.detach(&id, by, now).id(),
        };
    }

    fn placement(&mut self) -> Placement {
        match self.below(6) {
            0 => Placement::Dedicated,
            1 => Placement::MainLoop,
            2 => Placement::LeastLoaded,
            3 => Placement::Spread(NonZeroUsize::new(2).unwrap()),
            4 => Placement::Pinned(IoThreadId::indep(self.below(THREADS))),
            _ => Placement::RoundRobin,
        }
    }

    fn run_command(&mut self) {
        let Some((id, command)) = self.to_qemu.pop_front() else {
            return;
        };
        self.heard.push(command.name());
        if let Some((0, fault)) = self.armed {
            self.armed = None;
            return self.strike(fault, id, &command);
        }
        if let Some((before, _)) = &mut self.armed {
            *before -= 1;
        }
        let (reply, events) = if self.one_in(20) {
            self.counts[2] += 1;
            let name = command.name();
            self.say(|| format!("{name} is refused or not heard"));
            match self.below(2) {
                0 => (Some(Err(refuse_as(name, "NeverHeardOf"))), Vec::new()),
                _ => (None, Vec::new()),
            }
        } else {
            let (reply, events) = self.qemu.run(command.name(), command.arguments());
            match self.one_in(20) {
                true => {
                    self.counts[2] += 1;
                    (None, events)
                }
                false => (Some(reply), events),
            }
        };
        // Events of a command come before or behind its reply.
        let first = self.below(2) == 0;
        if first {
            self.tell(&events);
        }
        self.from_qemu
            .extend(reply.map(|reply| Line::Reply(id, reply)));
        if !first {
            self.tell(&events);
        }
    }

    fn tell(&mut self, events: &[Event]) {
        for event in events {
            let times = match self.one_in(20) {
                true => 2,
                false => 1,
            };
            for _ in 0..times {
                self.from_qemu.push_back(Line::Event(event.clone()));
            }
        }
    }

    fn read_line(&mut self) {
        match self.from_qemu.pop_front() {
            Some(Line::Reply(id, reply)) => {
                self.say(|| format!("{id:?}: {reply:?}"));
                self.hotplug.reply(id, reply, self.now);
            }
            Some(Line::Event(event)) => {
                self.say(|| format!("{event:?}"));
                self.hotplug.event(&event, self.now);
            }
            None => {}
        }
    }

    /// The guest releases a device, keeps it, or ejects one that nobody has asked for.
    fn guest_acts(&mut self) {
        if (self.calm || self.below(8) == 0)
            && let Some(events) = self.qemu.free_lingering()
        {
            return self.tell(&events);
        }
        let going = self.qemu.going();
        let events = if going.is_empty() {
            let ejectable = self.qemu.ejectable();
            if ejectable.is_empty() || !self.one_in(8) {
                return;
            }
            let id = &ejectable[self.below(ejectable.len())];
            if self.qemu.is_bare(id) && self.one_in(2) {
                return self.qemu.unlist(id);
            }
            self.qemu.remove(id)
        } else {
            let id = &going[self.below(going.len())];
            match self.one_in(5) {
                true => self.qemu.reject(id),
                false if self.qemu.is_bare(id) && self.one_in(2) => return self.qemu.unlist(id),
                false => self.qemu.remove(id),
            }
        };
        self.tell(&events);
    }

    fn answer(&mut self) {
        let Some((id, disk, awaited)) = self.questions.pop_front() else {
            return;
        };
        let present = self.qemu.has_device(&disk);
        let answer = match awaited {
            _ if self.one_in(20) => Answer::Failed("it does not know".into()),
            Presence::Present if present => Answer::Yes,
            Presence::Absent if !present => Answer::Yes,
            _ => Answer::NotYet("it is not so".into()),
        };
        self.hotplug.answer(id, answer, self.now);
    }

    /// Runs an operation where nothing is random, and returns whether it has succeeded.
    pub(super) fn operate(&mut self, operation: super::table::Operation) -> bool {
        self.calm = true;
        let before = self.counts[1];
        let by = Deadline::starting(self.now, Duration::from_millis(500));
        operation(&mut self.hotplug, by, self.now);
        self.settle_down();
        self.check();
        self.counts[1] > before
    }

    pub(super) fn device_state(&self, id: &str) -> Option<crate::DiskState> {
        self.hotplug.state_of(&DeviceId::new(id).unwrap())
    }

    /// Checks that all that QEMU has is recorded, and that nothing has happened that must not.
    fn check(&self) {
        self.ensure(self.qemu.violations.is_empty(), "QEMU saw a violation");
        let pool = self.hotplug.pool();
        for id in self.qemu.things() {
            let known = pool.allocation_of(&DeviceId::new(id.as_str()).unwrap());
            self.ensure(known.is_some(), id);
        }
    }

    fn ensure(&self, condition: bool, what: &str) {
        assert!(
            condition,
            "seed {}: {what}\n{:#?}\n{:#?}\n{}\n{}",
            self.seed,
            self.qemu,
            self.hotplug,
            self.hotplug.pool().state(),
            self.trace.join("\n")
        );
    }

    /// Runs until nothing is left to do.
    fn settle_down(&mut self) {
        for _ in 0..10_000 {
            self.take();
            if !self.to_qemu.is_empty() {
                self.run_command();
            } else if !self.from_qemu.is_empty() {
                self.read_line();
            } else if self.qemu.lingers() || !self.qemu.going().is_empty() {
                self.guest_acts();
            } else if !self.questions.is_empty() {
                self.answer();
            } else if self.hotplug.operations().next().is_some() {
                // Something waits for what does not come.
                self.now += Duration::from_secs(1);
                self.hotplug.pass_time(self.now);
            } else {
                return;
            }
        }
        self.ensure(false, "it does not settle down");
    }

    /// Takes all away.
    pub(super) fn recovers(&mut self) {
        self.calm = true;
        if self.below(2) == 0 {
            let running: Vec<_> = self.hotplug.operations().collect();
            for operation in running {
                self.hotplug.cancel(operation);
            }
        }
        self.reconnect();
        self.settle_down();
        self.check();
        let by = |world: &Self| Deadline::starting(world.now, Duration::from_millis(500));
        match self.below(3) {
            0 => drop(self.hotplug.reconcile(by(self), self.now)),
            1 => drop(self.hotplug.settle(by(self), self.now)),
            _ => {}
        }
        self.settle_down();
        self.check();
        for id in IDS.map(|id| DeviceId::new(id).unwrap()) {
            match self.hotplug.pool().allocation_of(&id) {
                Some(Allocation::Thread(_)) => {
                    self.hotplug.close_node(&id, by(self), self.now);
                }
                Some(_) => {
                    self.hotplug.detach(&id, by(self), self.now);
                }
                None => continue,
            }
            self.settle_down();
            let left = self.hotplug.pool().allocation_of(&id).is_some();
            self.ensure(!left, id.as_str());
        }
        let stray: Vec<_> = self.hotplug.stray_threads().cloned().collect();
        for thread in stray {
            self.hotplug.remove_thread(&thread, by(self), self.now);
            self.settle_down();
        }
        self.check();
        let pool = self.hotplug.pool();
        self.ensure(self.qemu.is_empty(), "QEMU has something left");
        self.ensure(pool.free_slots() == SLOTS, "a slot is lost");
        let threads = pool.threads().iter().map(IoThreadId::as_str);
        let mut known: Vec<_> = threads.collect();
        known.sort_unstable();
        self.ensure(self.qemu.threads().iter().eq(&known), "a thread is lost");
        for thread in pool.threads() {
            self.ensure(
                pool.served_by(thread).next().is_none(),
                "a thread is in use",
            );
        }
    }
}

fn succeeded(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Attach(attached) => attached.is_ok(),
        Outcome::Detach(detached) => detached.is_ok(),
        Outcome::Move(moved) => moved.is_ok(),
        Outcome::AddThread(added) => added.is_ok(),
        Outcome::RemoveThread(removed) => removed.is_ok(),
        Outcome::Settle(settled) => settled.is_ok(),
        Outcome::Reconcile(found) => found.is_ok(),
    }
}
