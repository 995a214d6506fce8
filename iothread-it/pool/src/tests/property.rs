//! What a pool promises, over any order of leases, releases, and threads that come and go.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::{Expected, Model, Wish, name};
use super::{device, pool};
use crate::{Allocation, DeviceId, IoThreadId, Placement, Pool, PoolError, SlotTable};

const SLOTS: usize = 5;

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Lease(usize, u16, Wish),
    Controller(usize, u16, Wish),
    Thread(usize, Wish),
    MayBeOn(usize, Wish),
    Address(usize, usize),
    Release(usize),
    AddThread,
    RemoveThread(usize),
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
    let step = prop_oneof![
        6 => (0usize..8, 1u16..4, wishes()).prop_map(|(n, q, w)| Step::Lease(n, q, w)),
        2 => (0usize..8, 1u16..4, wishes()).prop_map(|(n, q, w)| Step::Controller(n, q, w)),
        2 => (0usize..8, wishes()).prop_map(|(n, w)| Step::Thread(n, w)),
        2 => (0usize..8, wishes()).prop_map(|(n, w)| Step::MayBeOn(n, w)),
        3 => (0usize..8, 0usize..8).prop_map(|(disk, on)| Step::Address(disk, on)),
        4 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::AddThread),
        2 => (0usize..9).prop_map(Step::RemoveThread),
    ];
    prop::collection::vec(step, 0..120)
}

/// The threads that a VM has at first: also ids that no pool makes, and numbers with gaps.
fn threads() -> impl Strategy<Value = Vec<IoThreadId>> {
    let numbers = prop::sample::subsequence(vec![0, 1, 2, 4, 5, 8], 1..6);
    let numbers = numbers.prop_shuffle();
    numbers.prop_map(|numbers| numbers.into_iter().map(name).collect())
}

/// Gives the pool a wish, and compares its answer with what the model expects.
fn wished(
    (pool, model): (&mut Pool, &mut Model),
    n: usize,
    (queues, wish): (u16, &Wish),
    takes_slot: bool,
    lease: impl FnOnce(&mut Pool, &Placement) -> Result<Allocation, PoolError>,
) {
    let before = pool.state();
    let is_held = model.records.contains_key(&device(n));
    let has_no_slot = takes_slot && model.free_slots() == 0;
    let expected = if is_held || has_no_slot || (!takes_slot && wish.is_mapping()) {
        Expected::Refused
    } else {
        model.expect(wish, queues)
    };
    match lease(pool, &wish.placement()) {
        Ok(held) => model.note(device(n), wish, &expected, &held),
        Err(error) => {
            let as_expected = matches!(expected, Expected::Refused);
            assert!(
                as_expected,
                "{wish:?}: {error}, and not {expected:?}: {before}"
            );
            assert_eq!(pool.state(), before, "a refusal changed something");
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
    let former = model.records.remove(id).unwrap();
    let expected = match wish.is_mapping() {
        true => Expected::Refused,
        false => model.expect(wish, 1),
    };
    match lease {
        Ok(lease) => {
            pool.may_be_on(id, &lease, &wish.placement());
            model.note(id.clone(), wish, &expected, &Allocation::Thread(lease));
            model.note_former(id, former);
        }
        Err(error) => {
            assert!(matches!(expected, Expected::Refused), "{wish:?}: {error}");
            model.records.insert(id.clone(), former);
        }
    }
}

fn act(pool: &mut Pool, model: &mut Model, step: Step) {
    match step {
        Step::Lease(n, queues, wish) => {
            wished(
                (pool, model),
                n,
                (queues, &wish),
                true,
                |pool, placement| {
                    pool.lease(&device(n), queues, placement)
                        .map(Allocation::Device)
                },
            );
        }
        Step::Controller(n, queues, wish) => {
            wished(
                (pool, model),
                n,
                (queues, &wish),
                true,
                |pool, placement| {
                    let lease = pool.lease_controller(&device(n), queues, placement);
                    lease.map(Allocation::Controller)
                },
            );
        }
        Step::Thread(n, wish) => {
            wished((pool, model), n, (1, &wish), false, |pool, placement| {
                pool.lease_thread(&device(n), placement)
                    .map(Allocation::Thread)
            });
        }
        Step::MayBeOn(n, wish) => may_be_on(pool, model, &device(n), &wish),
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
                model.records.remove(&id);
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

proptest! {
    #[test]
    fn pool_agrees_with_an_independent_model(threads in threads(), steps in steps()) {
        let mut pool = Pool::new(threads.clone(), SlotTable::root_ports(SLOTS)).unwrap();
        let mut model = Model::new(threads, SLOTS);
        for step in steps {
            act(&mut pool, &mut model, step);
            model.check(&pool);
        }
        // Disks before the controllers that they are on.
        let (disks, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut model.records).into_iter().partition(|(_, r)| r.on.is_some());
        for (device, _) in disks.into_iter().chain(others) {
            prop_assert!(pool.release(&device).is_ok());
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
