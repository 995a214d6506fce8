//! What a pool promises, over any order of leases, releases, and threads that come and go.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::{Expected, Model, Wish, name};
use super::{device, pool, restored};
use crate::{
    Allocation, Demand, DeviceId, IoThreadId, PciSlot, Placement, Pool, PoolError, SlotTable,
};

/// The slots of two buses.
fn slots() -> Vec<PciSlot> {
    let slots = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)];
    slots.map(|(bus, n)| PciSlot::new(bus, n).unwrap()).into()
}

/// A slot of the table, or one that it does not have.
fn slot(n: usize) -> PciSlot {
    let missing = PciSlot::new("c", 1).unwrap();
    slots().get(n).cloned().unwrap_or(missing)
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    /// A device with its queues and their weight, in any slot or in this one.
    Lease(usize, Demand, Wish, Option<usize>),
    Controller(usize, Demand, Wish, Option<usize>),
    Threads(usize, Demand, Wish),
    Thread(usize, Wish),
    MayBeOn(usize, Wish),
    /// What came of the newest move: whether it was moved.
    Moved(usize, bool),
    Address(usize, usize),
    Release(usize),
    AddThread,
    RemoveThread(usize),
    Reserve(Option<usize>),
    FreeSlot(usize),
    SaveAndRestore,
}

fn wishes() -> impl Strategy<Value = Wish> {
    let some =
        |size| prop::sample::subsequence((0usize..9).collect::<Vec<_>>(), size).prop_shuffle();
    prop_oneof![
        1 => Just(Wish::First),
        1 => Just(Wish::RoundRobin),
        1 => Just(Wish::LeastLoaded),
        2 => Just(Wish::Dedicated),
        1 => Just(Wish::MainLoop),
        1 => (0usize..9).prop_map(Wish::Pinned),
        1 => (1usize..5).prop_map(Wish::Spread),
        2 => some(1..4).prop_map(Wish::MappedRoundRobin),
        2 => prop::collection::vec(0usize..9, 1..4).prop_map(Wish::MappedExplicit),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let demands = || {
        let weights = prop_oneof![3 => Just(1u32), 1 => 0u32..4];
        (1u16..4, weights).prop_map(|(queues, weight)| Demand::new(queues).with_weight(weight))
    };
    let places = || prop_oneof![3 => Just(None), 1 => (0usize..6).prop_map(Some)];
    let leases = || (0usize..8, demands(), wishes(), places());
    let step = prop_oneof![
        6 => leases().prop_map(|(n, d, w, s)| Step::Lease(n, d, w, s)),
        2 => leases().prop_map(|(n, d, w, s)| Step::Controller(n, d, w, s)),
        2 => (0usize..8, demands(), wishes()).prop_map(|(n, d, w)| Step::Threads(n, d, w)),
        2 => (0usize..8, wishes()).prop_map(|(n, w)| Step::Thread(n, w)),
        2 => (0usize..8, wishes()).prop_map(|(n, w)| Step::MayBeOn(n, w)),
        2 => (0usize..8, any::<bool>()).prop_map(|(n, moved)| Step::Moved(n, moved)),
        3 => (0usize..8, 0usize..8).prop_map(|(disk, on)| Step::Address(disk, on)),
        4 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::AddThread),
        2 => (0usize..9).prop_map(Step::RemoveThread),
        1 => places().prop_map(Step::Reserve),
        1 => (0usize..6).prop_map(Step::FreeSlot),
        1 => Just(Step::SaveAndRestore),
    ];
    prop::collection::vec(step, 0..120)
}

/// The threads that a VM has at first: also ids that no pool makes, and numbers with gaps.
fn threads() -> impl Strategy<Value = Vec<IoThreadId>> {
    let numbers = prop::sample::subsequence(vec![0, 1, 2, 4, 5, 8], 1..6);
    let numbers = numbers.prop_shuffle();
    numbers.prop_map(|numbers| numbers.into_iter().map(name).collect())
}

/// What a request needs in addition to threads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// This slot, or any.
    Slot(Option<usize>),
    /// Nothing: its queues can be on several threads, or not.
    Nothing { one_thread: bool },
}

/// Makes a request to the pool, and compares its result with that of the model.
fn wished(
    (pool, model): (&mut Pool, &mut Model),
    n: usize,
    (demand, wish, needs): (Demand, &Wish, Needs),
    lease: impl FnOnce(&mut Pool, &Placement) -> Result<Allocation, PoolError>,
) {
    let before = pool.save();
    let is_held = model.records.contains_key(&device(n));
    let needed = match needs {
        Needs::Slot(None) => model.free.front().cloned(),
        Needs::Slot(Some(n)) => model.free.iter().find(|free| **free == slot(n)).cloned(),
        Needs::Nothing { .. } => None,
    };
    let has_no_slot = matches!(needs, Needs::Slot(_)) && needed.is_none();
    let is_mapped = needs == Needs::Nothing { one_thread: true } && wish.is_mapping();
    let expected = if is_held || has_no_slot || is_mapped {
        Expected::Refused
    } else {
        model.expect(wish, demand.queues)
    };
    match lease(pool, &wish.placement()) {
        Ok(held) => {
            assert_eq!(held.lease().map(|lease| &lease.slot), needed.as_ref());
            model.note(device(n), (wish, demand.weight), &expected, &held);
        }
        Err(error) => {
            let as_expected = matches!(expected, Expected::Refused);
            assert!(
                as_expected,
                "{wish:?}: {error}, and not {expected:?}: {before:?}"
            );
            assert_eq!(pool.save(), before, "a refusal changed something");
        }
    }
}

/// A move whose reply is lost: what holds a thread may be on that one and on another.
fn may_be_on(pool: &mut Pool, model: &mut Model, id: &DeviceId, wish: &Wish) {
    if !matches!(pool.allocation_of(id), Some(Allocation::Thread(_))) {
        return;
    }
    let mut after = pool.clone();
    after.release(id).unwrap();
    let lease = after.lease_thread(id, &wish.placement());
    let former = model.remove(id);
    let expected = match wish.is_mapping() {
        true => Expected::Refused,
        false => model.expect(wish, 1),
    };
    match lease {
        Ok(lease) => {
            pool.may_be_on(id, &lease);
            let held = Allocation::Thread(lease);
            model.note(id.clone(), (wish, 1), &expected, &held);
            model.note_former(id, former);
        }
        Err(error) => {
            assert!(matches!(expected, Expected::Refused), "{wish:?}: {error}");
            model.records.insert(id.clone(), former);
        }
    }
}

/// QEMU answers late: the newest move was carried out, or was not.
fn moved(pool: &mut Pool, model: &mut Model, id: &DeviceId, moved: bool) {
    let record = model.records.get_mut(id);
    let Some(holds) = record
        .map(|record| &mut record.holds)
        .filter(|h| h.len() > 1)
    else {
        return;
    };
    let newest = holds.pop().unwrap();
    let lease = newest.lease.clone().unwrap();
    if moved {
        pool.is_on(id, lease).unwrap();
        *holds = vec![newest];
    } else {
        pool.is_not_on(id, &lease);
        // Another move to the same place is the same to QEMU.
        let same = |hold: &super::model::Hold| {
            hold.lease.as_ref().map(|lease| &lease.assignment) == Some(&lease.assignment)
        };
        if let Some(earlier) = holds.iter().skip(1).position(same) {
            holds.remove(earlier + 1);
            holds.push(newest);
        }
    }
}

fn act(pool: &mut Pool, model: &mut Model, step: Step) {
    match step {
        Step::Lease(n, demand, wish, at) => {
            let needs = (demand, &wish, Needs::Slot(at));
            wished((pool, model), n, needs, |pool, placement| {
                let at = at.map(slot);
                let lease = pool.lease_in(&device(n), demand, placement, at.as_ref());
                lease.map(Allocation::Device)
            });
        }
        Step::Controller(n, demand, wish, at) => {
            let needs = (demand, &wish, Needs::Slot(at));
            wished((pool, model), n, needs, |pool, placement| {
                let at = at.map(slot);
                let lease = pool.lease_controller_in(&device(n), demand, placement, at.as_ref());
                lease.map(Allocation::Controller)
            });
        }
        Step::Threads(n, demand, wish) => {
            let needs = (demand, &wish, Needs::Nothing { one_thread: false });
            wished((pool, model), n, needs, |pool, placement| {
                let lease = pool.lease_threads(&device(n), demand, placement);
                lease.map(Allocation::Thread)
            });
        }
        Step::Thread(n, wish) => {
            let needs = (Demand::new(1), &wish, Needs::Nothing { one_thread: true });
            wished((pool, model), n, needs, |pool, placement| {
                pool.lease_thread(&device(n), placement)
                    .map(Allocation::Thread)
            });
        }
        Step::MayBeOn(n, wish) => may_be_on(pool, model, &device(n), &wish),
        Step::Moved(n, answer) => moved(pool, model, &device(n), answer),
        Step::Reserve(n) => {
            let expected = match n {
                None => model.free.front().cloned(),
                Some(n) => model.free.iter().find(|free| **free == slot(n)).cloned(),
            };
            let reserved = match n {
                None => pool.reserve_any_slot(),
                Some(n) => pool.reserve_slot(&slot(n)).map(|()| slot(n)),
            };
            assert_eq!(reserved.ok(), expected);
            model.free.retain(|free| Some(free) != expected.as_ref());
            model.reserved.extend(expected);
        }
        Step::FreeSlot(n) => {
            let expected = model.reserved.take(&slot(n));
            assert_eq!(pool.free_slot(&slot(n)).is_ok(), expected.is_some());
            model.free.extend(expected);
        }
        Step::SaveAndRestore => *pool = restored(pool),
        Step::Address(n, on) => {
            let controller = model.records.get(&device(on));
            let expected = controller.is_some_and(|record| record.is_controller)
                && !model.records.contains_key(&device(n));
            let address = pool.lease_address(&device(n), &device(on));
            assert_eq!(address.is_ok(), expected, "{address:?}");
            if let Ok(address) = address {
                model.note_disk(device(n), address.controller, address.target);
            }
        }
        Step::Release(n) => {
            let id = device(n);
            let expected = model.records.contains_key(&id) && !model.has_disks(&id);
            let released = pool.release(&id);
            assert_eq!(released.is_ok(), expected, "{released:?}");
            if expected {
                model.remove(&id);
            }
        }
        Step::AddThread => {
            let new = pool.new_thread();
            assert!(
                model.used.insert(new.id().clone()),
                "{:?} is used again",
                new.id()
            );
            model.threads.push(new.id().clone());
            pool.commit_thread(new);
        }
        Step::RemoveThread(n) => {
            let thread = name(n);
            let expected = model.threads.contains(&thread) && !model.is_named(&thread);
            let removed = pool.remove_thread(&thread);
            assert_eq!(removed.is_ok(), expected, "{removed:?}: {model:?}");
            if expected {
                model.threads.retain(|known| *known != thread);
            }
        }
    }
}

/// A quarter of the usual number: each case has many steps.
fn fewer() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.div_ceil(4),
        ..config
    }
}

proptest! {
    #![proptest_config(fewer())]

    #[test]
    fn pool_agrees_with_an_independent_model(threads in threads(), steps in steps()) {
        let mut pool = Pool::new(threads.clone(), SlotTable::new(slots()).unwrap()).unwrap();
        let mut model = Model::new(threads, slots());
        for step in steps {
            act(&mut pool, &mut model, step);
            model.check(&pool);
        }
        // Disks before the controllers that they are on.
        let (disks, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut model.records).into_iter().partition(|(_, r)| r.on.is_some());
        for (device, record) in disks.into_iter().chain(others) {
            prop_assert!(pool.release(&device).is_ok());
            model.records.insert(device.clone(), record);
            model.remove(&device);
        }
        model.check(&pool);
    }

    /// Over restarts of the manager, which has the list of the threads, and the number that it kept.
    #[test]
    fn no_id_is_used_twice(threads in threads(), lives in prop::collection::vec((0usize..4, 0usize..6), 0..8)) {
        let mut used: BTreeSet<IoThreadId> = threads.iter().cloned().collect();
        let mut pool = Pool::new(threads, SlotTable::root_ports(0)).unwrap();
        for (add, remove) in lives {
            for _ in 0..add {
                let new = pool.new_thread();
                prop_assert!(used.insert(new.id().clone()), "{:?} is used again", new.id());
                pool.commit_thread(new);
            }
            for _ in 0..remove {
                if let Some(last) = pool.threads().last().cloned() {
                    pool.remove_thread(&last).unwrap();
                }
            }
            if add % 2 == 0 {
                pool = restored(&pool);
                continue;
            }
            let kept = pool.next_thread_number();
            pool = Pool::new(pool.threads().to_vec(), SlotTable::root_ports(0)).unwrap();
            pool.skip_thread_numbers_below(kept);
        }
    }

    /// With disks of one queue that only come, no thread ever has two more than another.
    #[test]
    fn least_loaded_is_never_off_by_more_than_one(threads in 1usize..6, disks in 0usize..30) {
        let mut pool = pool(threads, 30);
        for n in 0..disks {
            pool.lease(&device(n), 1, &Placement::LeastLoaded).unwrap();
            let loads: Vec<_> = pool.state().threads.iter().map(|t| t.queues).collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
        }
    }
}
