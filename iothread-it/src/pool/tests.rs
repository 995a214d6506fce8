//! What a pool promises, over any order of leases, releases, and threads that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

const SLOTS: usize = 5;

fn device(n: usize) -> DeviceId {
    DeviceId::new(format!("disk{n}")).unwrap()
}

fn pool(threads: usize, slots: usize) -> Pool {
    Pool::new(
        (0..threads).map(IoThreadId::indep).collect(),
        SlotTable::root_ports(slots),
    )
}

fn served(pool: &mut Pool, n: usize, placement: &Placement) -> String {
    let lease = pool.lease(&device(n), 1, placement).unwrap();
    lease.assignment.thread().unwrap().to_string()
}

#[test]
fn a_thread_that_is_not_there_is_refused_and_takes_no_slot() {
    let mut pool = pool(2, 1);
    let wanted = IoThreadId::new("nope").unwrap();
    let error = pool.lease(&device(0), 1, &Placement::Pinned(wanted));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the pool has no IOThread `nope`; it has indep_iothread_0, indep_iothread_1"
    );
    assert_eq!(pool.free_slots(), 1);
}

#[test]
fn a_pool_without_threads_says_which_keys_make_them() {
    let error = pool(0, 1).lease(&device(0), 1, &Placement::First);
    assert_eq!(error.unwrap_err(), PoolError::NoThreads);
}

#[test]
fn turns_go_round_and_past_a_retired_thread() {
    let mut pool = pool(3, 10);
    let turn = Placement::RoundRobin;
    let names: Vec<_> = (0..4).map(|n| served(&mut pool, n, &turn)).collect();
    assert_eq!(
        names,
        [0, 1, 2, 0].map(|n| IoThreadId::indep(n).to_string())
    );
    assert_eq!(served(&mut pool, 4, &turn), "indep_iothread_1");
    for n in [1, 4] {
        pool.release(&device(n));
    }
    pool.retire(&IoThreadId::indep(1)).unwrap();
    assert_eq!(served(&mut pool, 5, &turn), "indep_iothread_2");
}

#[test]
fn a_dedicated_thread_serves_one_device_until_that_is_released() {
    let mut pool = pool(2, 10);
    assert_eq!(
        served(&mut pool, 0, &Placement::Dedicated),
        "indep_iothread_0"
    );
    assert_eq!(served(&mut pool, 1, &Placement::First), "indep_iothread_1");
    assert_eq!(
        pool.lease(&device(2), 1, &Placement::Pinned(IoThreadId::indep(0))),
        Err(PoolError::Dedicated {
            thread: IoThreadId::indep(0),
            device: device(0)
        })
    );
    assert_eq!(
        pool.lease(&device(2), 1, &Placement::Dedicated),
        Err(PoolError::NoIdleThread { total: 2 })
    );
    pool.release(&device(0));
    assert_eq!(served(&mut pool, 2, &Placement::First), "indep_iothread_0");
}

#[test]
fn a_thread_in_use_is_not_retired_and_an_id_is_not_used_again() {
    let mut pool = pool(2, 10);
    let second = Placement::Pinned(IoThreadId::indep(1));
    pool.lease(&device(0), 1, &second).unwrap();
    let error = pool.retire(&IoThreadId::indep(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IOThread `indep_iothread_1` still serves disk0; detach first"
    );
    pool.release(&device(0));
    pool.retire(&IoThreadId::indep(1)).unwrap();
    let new = pool.new_thread();
    assert_eq!(new.id(), &IoThreadId::indep(2));
    pool.admit(new);
    assert_eq!(pool.threads(), [0, 2].map(IoThreadId::indep));
}

#[test]
fn the_state_says_which_thread_serves_what_and_why() {
    let mut pool = pool(3, 4);
    let spread = Placement::Spread(NonZeroUsize::new(2).unwrap());
    pool.lease(&device(0), 4, &Placement::LeastLoaded).unwrap();
    pool.lease(&device(1), 3, &spread).unwrap();
    pool.lease(&device(2), 1, &Placement::MainLoop).unwrap();
    insta::assert_snapshot!(pool.state());
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Lease(usize, u16, Placement),
    Release(usize),
    AddThread,
    Retire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let placement = prop_oneof![
        Just(Placement::First),
        Just(Placement::RoundRobin),
        Just(Placement::LeastLoaded),
        Just(Placement::Dedicated),
        Just(Placement::MainLoop),
        (0usize..5).prop_map(|n| Placement::Pinned(IoThreadId::indep(n))),
        (1usize..4).prop_map(|n| Placement::Spread(NonZeroUsize::new(n).unwrap())),
    ];
    let step = prop_oneof![
        6 => (0usize..8, 1u16..5, placement).prop_map(|(n, q, p)| Step::Lease(n, q, p)),
        4 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::AddThread),
        1 => (0usize..6).prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 0..120)
}

/// What must hold at any time.
fn check(pool: &Pool, model: &BTreeMap<DeviceId, Lease>) {
    let slots: BTreeSet<_> = model.values().map(|lease| &lease.slot).collect();
    assert_eq!(slots.len(), model.len(), "a slot is taken twice");
    assert_eq!(pool.free_slots(), SLOTS - model.len(), "a slot is lost");
    let state = pool.state();
    for thread in &state.threads {
        let queues = |lease: &Lease| lease.assignment.queues_of(&thread.id, lease.queues);
        let sum: usize = model.values().map(queues).sum();
        assert_eq!(thread.queues, sum, "{state}");
        if let Some(owner) = &thread.dedicated_to {
            let devices: Vec<_> = thread.devices.iter().map(|served| &served.device).collect();
            assert_eq!(devices, [owner], "{state}");
        }
    }
    let on_threads: usize = state.threads.iter().map(|thread| thread.queues).sum();
    let leased = model
        .values()
        .filter(|lease| lease.assignment != Assignment::MainLoop);
    let leased: usize = leased.map(|lease| usize::from(lease.queues)).sum();
    assert_eq!(
        on_threads, leased,
        "a queue is served by no thread, or by two: {state}"
    );
}

proptest! {
    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(steps in steps()) {
        let mut pool = pool(3, SLOTS);
        let mut model: BTreeMap<DeviceId, Lease> = BTreeMap::new();
        let mut ids: BTreeSet<IoThreadId> = pool.threads().iter().cloned().collect();
        for step in steps {
            let before = pool.state();
            match step {
                Step::Lease(n, queues, placement) => {
                    let device = device(n);
                    match pool.lease(&device, queues, &placement) {
                        Ok(lease) => {
                            if let (Placement::LeastLoaded, Some(thread)) =
                                (&placement, lease.assignment.thread())
                            {
                                let shared =
                                    before.threads.iter().filter(|t| t.dedicated_to.is_none());
                                let least = shared.clone().map(|t| t.queues).min();
                                let chosen = before.threads.iter().find(|t| t.id == *thread);
                                prop_assert_eq!(chosen.map(|t| t.queues), least);
                            }
                            prop_assert!(model.insert(device, lease).is_none());
                        }
                        Err(error) => {
                            prop_assert_eq!(pool.state(), before, "a refusal changed something");
                            if error == (PoolError::NoFreeSlot { total: SLOTS }) {
                                prop_assert_eq!(model.len(), SLOTS);
                            }
                        }
                    }
                }
                Step::Release(n) => {
                    prop_assert_eq!(pool.release(&device(n)), model.remove(&device(n)));
                }
                Step::AddThread => {
                    let new = pool.new_thread();
                    prop_assert!(ids.insert(new.id().clone()), "an id is used again");
                    pool.admit(new);
                }
                Step::Retire(n) => {
                    let thread = IoThreadId::indep(n);
                    let serves = pool.served_by(&thread).count() > 0;
                    prop_assert_eq!(
                        pool.retire(&thread).is_ok(),
                        !serves && before.threads.iter().any(|t| t.id == thread)
                    );
                }
            }
            check(&pool, &model);
        }
        for device in model.into_keys() {
            pool.release(&device);
        }
        prop_assert_eq!(pool.free_slots(), SLOTS);
        prop_assert!(pool.state().threads.iter().all(|t| t.queues == 0 && t.dedicated_to.is_none()));
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
