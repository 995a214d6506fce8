//! An independent model of the pool: the caller's requests and leases.
//! It says what the pool must do next, and shares no code with the pool: it counts for itself, and
//! only reads QEMU's configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;

use crate::{
    Allocation, Assignment, DeviceId, IoThreadId, PciSlot, Placement, Pool, Served, ThreadLease,
    VqMapping,
};

/// A request of a test. Threads are numbers: [`name`] has their ids.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    First,
    RoundRobin,
    LeastLoaded,
    Dedicated,
    MainLoop,
    Pinned(usize),
    Spread(usize),
    /// A mapping without `vqs`.
    MappedRoundRobin(Vec<usize>),
    /// A mapping with `vqs`: the thread of each queue.
    MappedExplicit(Vec<usize>),
}

/// Returns a thread's id. Number 8 and up are ids that no pool makes.
pub(super) fn name(number: usize) -> IoThreadId {
    match number {
        8.. => IoThreadId::new(format!("t{number}")).unwrap(),
        _ => IoThreadId::indep(number),
    }
}

impl Wish {
    pub(super) fn placement(&self) -> Placement {
        match self {
            Self::First => Placement::First,
            Self::RoundRobin => Placement::RoundRobin,
            Self::LeastLoaded => Placement::LeastLoaded,
            Self::Dedicated => Placement::Dedicated,
            Self::MainLoop => Placement::MainLoop,
            Self::Pinned(number) => Placement::Pinned(name(*number)),
            Self::Spread(count) => Placement::Spread(NonZeroUsize::new(*count).unwrap()),
            Self::MappedRoundRobin(numbers) => {
                let threads = numbers.iter().copied().map(name).collect();
                Placement::Mapped(VqMapping::round_robin(threads).unwrap())
            }
            Self::MappedExplicit(numbers) => {
                let mut queues: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
                for (queue, number) in (0..).zip(numbers) {
                    queues.entry(*number).or_default().push(queue);
                }
                let named = queues.into_iter().map(|(n, queues)| (name(n), queues));
                Placement::Mapped(VqMapping::explicit(named.collect()).unwrap())
            }
        }
    }

    pub(super) fn is_mapping(&self) -> bool {
        matches!(
            self,
            Self::Spread(_) | Self::MappedRoundRobin(_) | Self::MappedExplicit(_)
        )
    }
}

/// The threads that a device names, each with how many queues it serves.
pub(super) type Shares = BTreeMap<IoThreadId, usize>;

/// What the pool must answer.
#[derive(Debug)]
pub(super) enum Expected {
    Refused,
    Shares(Shares),
    /// All queues on one thread that is not dedicated.
    AnyShared,
}

/// What a device was given.
#[derive(Debug)]
pub(super) struct Record {
    /// What serves it, and behind that what may serve it.
    pub(super) holds: Vec<Hold>,
    slot: Option<PciSlot>,
    pub(super) is_controller: bool,
    /// The controller that it is on, and its target there.
    pub(super) on: Option<(DeviceId, u8)>,
}

/// Threads of a device.
#[derive(Debug)]
pub(super) struct Hold {
    shares: Shares,
    weight: u32,
    /// The main loop serves it.
    on_main_loop: bool,
    /// Its threads are for no other device.
    dedicated: bool,
    /// What the pool gave, if it is no slot.
    pub(super) lease: Option<ThreadLease>,
}

impl Record {
    fn names(&self, thread: &IoThreadId) -> bool {
        self.holds.iter().any(|h| h.shares.contains_key(thread))
    }
}

#[derive(Debug)]
pub(super) struct Model {
    /// In the order in which they were made.
    pub(super) threads: Vec<IoThreadId>,
    /// Every id that was ever there.
    pub(super) used: BTreeSet<IoThreadId>,
    pub(super) records: BTreeMap<DeviceId, Record>,
    /// The slot that was freed last is at the end.
    pub(super) free: VecDeque<PciSlot>,
    pub(super) reserved: BTreeSet<PciSlot>,
    slots: usize,
}

impl Model {
    pub(super) fn new(threads: Vec<IoThreadId>, slots: Vec<PciSlot>) -> Self {
        Self {
            used: threads.iter().cloned().collect(),
            threads,
            records: BTreeMap::new(),
            slots: slots.len(),
            free: slots.into(),
            reserved: BTreeSet::new(),
        }
    }

    pub(super) fn is_named(&self, thread: &IoThreadId) -> bool {
        self.records.values().any(|r| r.names(thread))
    }

    pub(super) fn has_disks(&self, controller: &DeviceId) -> bool {
        let on = self.records.values().filter_map(|r| r.on.as_ref());
        on.into_iter().any(|(on, _)| on == controller)
    }

    /// Forgets a device.
    pub(super) fn remove(&mut self, device: &DeviceId) -> Record {
        let record = self.records.remove(device).expect("a device");
        self.free.extend(record.slot.clone());
        record
    }

    fn sum(&self, thread: &IoThreadId, each: impl Fn(&Hold, usize) -> u64) -> u64 {
        let holds = self.records.values().flat_map(|r| &r.holds);
        let shares = holds.filter_map(|hold| Some(each(hold, *hold.shares.get(thread)?)));
        shares.sum()
    }

    fn load(&self, thread: &IoThreadId) -> u64 {
        self.sum(thread, |hold, queues| {
            queues as u64 * u64::from(hold.weight)
        })
    }

    fn owner(&self, thread: &IoThreadId) -> Option<&DeviceId> {
        let owns = |hold: &Hold| hold.dedicated && hold.shares.contains_key(thread);
        let owner = self.records.iter().find(|(_, r)| r.holds.iter().any(owns));
        owner.map(|(device, _)| device)
    }

    /// Returns the expected result of a request, independent of slots.
    pub(super) fn expect(&self, wish: &Wish, queues: u16) -> Expected {
        let shared: Vec<&IoThreadId> = self
            .threads
            .iter()
            .filter(|t| self.owner(t).is_none())
            .collect();
        let mut by_load = shared.clone();
        by_load.sort_by_key(|thread| self.load(thread));
        let all_on =
            |thread: &IoThreadId| Expected::Shares(Shares::from([(thread.clone(), queues.into())]));
        let one = |thread: Option<&&IoThreadId>| thread.map_or(Expected::Refused, |t| all_on(t));
        match wish {
            Wish::MainLoop => Expected::Shares(Shares::new()),
            Wish::First => one(shared.first()),
            Wish::RoundRobin if shared.is_empty() => Expected::Refused,
            Wish::RoundRobin => Expected::AnyShared,
            Wish::LeastLoaded => one(by_load.first()),
            Wish::Dedicated => one(shared.iter().find(|thread| !self.is_named(thread))),
            Wish::Pinned(number) => one(shared.iter().find(|thread| ***thread == name(*number))),
            Wish::Spread(count) if *count > usize::from(queues) || *count > shared.len() => {
                Expected::Refused
            }
            Wish::Spread(count) => {
                let threads = by_load[..*count].iter();
                Expected::Shares(in_turn(threads.map(|thread| (*thread).clone()), queues))
            }
            Wish::MappedRoundRobin(numbers) | Wish::MappedExplicit(numbers)
                if !numbers.iter().all(|n| shared.contains(&&name(*n))) =>
            {
                Expected::Refused
            }
            Wish::MappedRoundRobin(numbers) if numbers.len() > usize::from(queues) => {
                Expected::Refused
            }
            Wish::MappedRoundRobin(numbers) => {
                Expected::Shares(in_turn(numbers.iter().copied().map(name), queues))
            }
            Wish::MappedExplicit(numbers) if numbers.len() != usize::from(queues) => {
                Expected::Refused
            }
            Wish::MappedExplicit(numbers) => {
                let mut shares = Shares::new();
                for number in numbers {
                    *shares.entry(name(*number)).or_default() += 1;
                }
                Expected::Shares(shares)
            }
        }
    }

    /// Notes what a device was given, and says whether it is what was expected.
    pub(super) fn note(
        &mut self,
        device: DeviceId,
        (wish, weight): (&Wish, u32),
        expected: &Expected,
        held: &Allocation,
    ) {
        let (assignment, queues, slot, lease) = match held {
            Allocation::Device(lease) | Allocation::Controller(lease) => {
                (&lease.assignment, lease.queues, Some(&lease.slot), None)
            }
            Allocation::Thread(lease) => (&lease.assignment, lease.queues, None, Some(lease)),
            Allocation::Scsi(address) => panic!("{address} is no wish"),
        };
        let shares = shares_of(assignment, queues);
        match expected {
            Expected::Refused => panic!("{wish:?} was given {held:?}: {self:?}"),
            Expected::Shares(expected) => assert_eq!(shares, *expected, "{wish:?}: {self:?}"),
            Expected::AnyShared => {
                let thread = shares.first_key_value().expect("a thread");
                assert_eq!((shares.len(), *thread.1), (1, queues.into()));
                assert_eq!(self.owner(thread.0), None, "{wish:?} was given {held:?}");
            }
        }
        self.free.retain(|free| Some(free) != slot);
        let hold = Hold {
            shares,
            weight,
            on_main_loop: *assignment == Assignment::MainLoop,
            dedicated: matches!(wish, Wish::Dedicated),
            lease: lease.cloned(),
        };
        let record = Record {
            holds: vec![hold],
            slot: slot.cloned(),
            is_controller: matches!(held, Allocation::Controller(_)),
            on: None,
        };
        assert!(self.records.insert(device, record).is_none());
    }

    pub(super) fn note_disk(&mut self, device: DeviceId, controller: DeviceId, target: u8) {
        let record = Record {
            holds: Vec::new(),
            slot: None,
            is_controller: false,
            on: Some((controller, target)),
        };
        assert!(self.records.insert(device, record).is_none());
    }

    /// Notes that a device may still be where it was before.
    pub(super) fn note_former(&mut self, device: &DeviceId, former: Record) {
        let record = self.records.get_mut(device).expect("a device");
        record.holds.splice(0..0, former.holds);
    }

    /// The devices of which this holds, and the disks on them.
    fn with_disks(&self, holds: impl Fn(&Record) -> bool) -> BTreeSet<&DeviceId> {
        let is_in = |record: &Record| match &record.on {
            Some((controller, _)) => holds(&self.records[controller]),
            None => holds(record),
        };
        let devices = self.records.iter().filter(|(_, record)| is_in(record));
        devices.map(|(device, _)| device).collect()
    }

    /// Compares all that a pool shows with these records.
    pub(super) fn check(&self, pool: &Pool) {
        let slots = self.records.values().filter_map(|r| r.slot.as_ref());
        let slots: Vec<_> = slots.chain(&self.free).chain(&self.reserved).collect();
        let distinct: BTreeSet<_> = slots.iter().collect();
        assert_eq!(distinct.len(), slots.len(), "a slot is given twice");
        assert_eq!(slots.len(), self.slots, "a slot is lost");
        assert_eq!(pool.free_slots(), self.free.len(), "a slot is lost");
        let reserved: BTreeSet<_> = pool.reserved_slots().cloned().collect();
        assert_eq!(reserved, self.reserved);
        let targets: Vec<_> = self
            .records
            .values()
            .filter_map(|r| r.on.as_ref())
            .collect();
        let distinct: BTreeSet<_> = targets.iter().collect();
        assert_eq!(distinct.len(), targets.len(), "a target is given twice");

        assert_eq!(pool.threads(), self.threads);
        let state = pool.state();
        let ids = |served: &[Served]| -> Vec<DeviceId> {
            served.iter().map(|served| served.device.clone()).collect()
        };
        for (thread, shown) in self.threads.iter().zip(&state.threads) {
            assert_eq!(shown.id, *thread);
            assert_eq!(shown.load, self.load(thread), "{state}");
            let queues = self.sum(thread, |_, queues| queues as u64);
            assert_eq!(shown.queues as u64, queues, "{state}");
            assert_eq!(shown.dedicated_to.as_ref(), self.owner(thread), "{state}");
            let named = self.with_disks(|record| record.names(thread));
            let devices = ids(&shown.devices);
            assert_eq!(devices.iter().collect::<BTreeSet<_>>(), named, "{state}");
            assert_eq!(devices.len(), named.len(), "{state}");
            assert_eq!(pool.served_by(thread).collect::<BTreeSet<_>>(), named);
        }
        let main_loop = self.with_disks(|record| record.holds.iter().any(|h| h.on_main_loop));
        let devices = ids(&state.main_loop);
        assert_eq!(
            devices.iter().collect::<BTreeSet<_>>(),
            main_loop,
            "{state}"
        );
    }
}

/// Queue *i* is thread *i*'s, modulo their number.
fn in_turn(threads: impl ExactSizeIterator<Item = IoThreadId>, queues: u16) -> Shares {
    let count = threads.len();
    let serves = |turn| {
        (0..usize::from(queues))
            .filter(|queue| queue % count == turn)
            .count()
    };
    threads
        .enumerate()
        .map(|(turn, thread)| (thread, serves(turn)))
        .collect()
}

/// The configuration that QEMU would get.
fn shares_of(assignment: &Assignment, queues: u16) -> Shares {
    match assignment {
        Assignment::MainLoop => Shares::new(),
        Assignment::Thread(thread) => Shares::from([(thread.clone(), queues.into())]),
        Assignment::Mapped(mapping) => {
            let entries: Vec<_> = mapping.entries().collect();
            match entries
                .iter()
                .map(|(thread, vqs)| vqs.map(|vqs| ((*thread).clone(), vqs.len())))
                .collect()
            {
                Some(named) => named,
                None => {
                    let threads: Vec<_> = entries
                        .iter()
                        .map(|(thread, _)| (*thread).clone())
                        .collect();
                    in_turn(threads.into_iter(), queues)
                }
            }
        }
    }
}
