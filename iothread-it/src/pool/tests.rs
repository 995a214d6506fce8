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
    pool.lease_controller(&device(3), 2, &Placement::LeastLoaded)
        .unwrap();
    pool.lease_address(&device(4), &device(3)).unwrap();
    pool.lease_thread(&device(5), &Placement::First).unwrap();
    insta::assert_snapshot!(pool.state());
}

#[test]
fn disks_on_a_controller_have_targets_and_follow_its_thread() {
    let mut pool = pool(2, 4);
    let (controller, second) = (device(0), Placement::Pinned(IoThreadId::indep(1)));
    let missing = PoolError::NoSuchController {
        wanted: controller.clone(),
    };
    assert_eq!(pool.lease_address(&device(1), &controller), Err(missing));
    pool.lease_controller(&controller, 1, &second).unwrap();
    let mut target = |n| {
        pool.lease_address(&device(n), &controller)
            .map(|a| a.target)
    };
    assert_eq!([target(1), target(2)], [Ok(0), Ok(1)]);
    pool.release(&device(1));
    let again = pool.lease_address(&device(3), &controller).unwrap();
    assert_eq!(again.to_string(), "target 2 of disk0");
    assert_eq!(pool.free_slots(), 3, "a disk on a controller takes no slot");

    let busy = pool.retire(&IoThreadId::indep(1)).unwrap_err();
    assert_eq!(
        busy.to_string(),
        "IOThread `indep_iothread_1` still serves disk0, disk2, disk3; detach first"
    );
    assert_eq!(pool.release(&controller), None, "it still has disks");
    for n in [2, 3, 0] {
        assert!(pool.release(&device(n)).is_some());
    }
    assert_eq!(pool.retire(&IoThreadId::indep(1)), Ok(()));
}

#[test]
fn a_controller_has_256_targets() {
    let mut pool = pool(1, 1);
    let controller = device(0);
    pool.lease_controller(&controller, 1, &Placement::First)
        .unwrap();
    for n in 1..=256 {
        pool.lease_address(&device(n), &controller).unwrap();
    }
    let full = pool.lease_address(&device(257), &controller).unwrap_err();
    assert_eq!(
        full.to_string(),
        "SCSI controller `disk0` has 256 disks, which is all it can have"
    );
}

#[test]
fn what_has_no_queues_has_one_thread_and_no_slot() {
    let mut pool = pool(2, 1);
    let export = pool
        .lease_thread(&device(0), &Placement::LeastLoaded)
        .unwrap();
    assert_eq!(export.assignment.thread(), Some(&IoThreadId::indep(0)));
    assert_eq!(pool.free_slots(), 1);
    let spread = Placement::Spread(NonZeroUsize::new(2).unwrap());
    let error = pool.lease_thread(&device(1), &spread).unwrap_err();
    assert_eq!(error, PoolError::OneThread { id: device(1) });
    // It counts like a disk of one queue.
    assert_eq!(
        served(&mut pool, 2, &Placement::LeastLoaded),
        "indep_iothread_1"
    );
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Lease(usize, u16, Placement),
    Controller(usize, u16, Placement),
    Thread(usize, Placement),
    Address(usize, usize),
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
        6 => (0usize..8, 1u16..5, placement.clone()).prop_map(|(n, q, p)| Step::Lease(n, q, p)),
        2 => (0usize..8, 1u16..5, placement.clone()).prop_map(|(n, q, p)| Step::Controller(n, q, p)),
        2 => (0usize..8, placement).prop_map(|(n, p)| Step::Thread(n, p)),
        3 => (0usize..8, 0usize..8).prop_map(|(disk, on)| Step::Address(disk, on)),
        4 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::AddThread),
        1 => (0usize..6).prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 0..120)
}

/// What every device holds, as its caller was told.
type Model = BTreeMap<DeviceId, Holding>;

/// What must hold at any time.
fn check(pool: &Pool, model: &Model) {
    let leases: Vec<_> = model.values().filter_map(Holding::lease).collect();
    let slots: BTreeSet<_> = leases.iter().map(|lease| &lease.slot).collect();
    assert_eq!(slots.len(), leases.len(), "a slot is taken twice");
    assert_eq!(pool.free_slots(), SLOTS - leases.len(), "a slot is lost");

    let addresses: Vec<_> = model.values().filter_map(address).collect();
    let targets: BTreeSet<_> = addresses.iter().collect();
    assert_eq!(targets.len(), addresses.len(), "a target is taken twice");
    for address in addresses {
        let controller = &model[&address.controller];
        assert!(
            matches!(controller, Holding::Controller(_)),
            "{controller:?}"
        );
    }

    let state = pool.state();
    let shares = || model.values().filter_map(Holding::assignment);
    for thread in &state.threads {
        let queues = shares().map(|(a, queues)| a.queues_of(&thread.id, queues));
        assert_eq!(thread.queues, queues.sum::<usize>(), "{state}");
        if let Some(owner) = &thread.dedicated_to {
            let on_it = |served: &Served| {
                served.device == *owner
                    || address(&model[&served.device]).is_some_and(|a| a.controller == *owner)
            };
            assert!(thread.devices.iter().all(on_it), "{state}");
        }
    }
    let on_threads: usize = state.threads.iter().map(|thread| thread.queues).sum();
    let leased = shares().filter(|(assignment, _)| **assignment != Assignment::MainLoop);
    let leased: usize = leased.map(|(_, queues)| usize::from(queues)).sum();
    assert_eq!(
        on_threads, leased,
        "a queue is served by no thread, or by two: {state}"
    );
}

fn address(holding: &Holding) -> Option<&ScsiAddress> {
    match holding {
        Holding::Scsi(address) => Some(address),
        Holding::Device(_) | Holding::Controller(_) | Holding::Thread(_) => None,
    }
}

/// What a refused lease leaves: what was there before, and a full table if that was the reason.
fn check_refusal(error: &PoolError, pool: &Pool, before: &State) {
    assert_eq!(pool.state(), *before, "a refusal changed something");
    if *error == (PoolError::NoFreeSlot { total: SLOTS }) {
        assert_eq!(pool.free_slots(), 0);
    }
}

proptest! {
    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(steps in steps()) {
        let mut pool = pool(3, SLOTS);
        let mut model = Model::new();
        let mut ids: BTreeSet<IoThreadId> = pool.threads().iter().cloned().collect();
        for step in steps {
            let before = pool.state();
            let leased = match step {
                Step::Lease(n, queues, placement) => {
                    let lease = pool.lease(&device(n), queues, &placement);
                    if let (Placement::LeastLoaded, Ok(lease)) = (&placement, &lease) {
                        let shared = before.threads.iter().filter(|t| t.dedicated_to.is_none());
                        let least = shared.clone().map(|t| t.queues).min();
                        let thread = lease.assignment.thread();
                        let chosen = before.threads.iter().find(|t| Some(&t.id) == thread);
                        prop_assert_eq!(chosen.map(|t| t.queues), least);
                    }
                    Some((n, lease.map(Holding::Device)))
                }
                Step::Controller(n, queues, placement) => {
                    let lease = pool.lease_controller(&device(n), queues, &placement);
                    Some((n, lease.map(Holding::Controller)))
                }
                Step::Thread(n, placement) => {
                    let lease = pool.lease_thread(&device(n), &placement);
                    Some((n, lease.map(Holding::Thread)))
                }
                Step::Address(n, on) => {
                    let address = pool.lease_address(&device(n), &device(on));
                    Some((n, address.map(Holding::Scsi)))
                }
                Step::Release(n) => {
                    let has_disks = model.values().filter_map(address).any(|a| a.controller == device(n));
                    let expected = if has_disks { None } else { model.remove(&device(n)) };
                    prop_assert_eq!(pool.release(&device(n)), expected);
                    None
                }
                Step::AddThread => {
                    let new = pool.new_thread();
                    prop_assert!(ids.insert(new.id().clone()), "an id is used again");
                    pool.admit(new);
                    None
                }
                Step::Retire(n) => {
                    let thread = IoThreadId::indep(n);
                    let serves = pool.served_by(&thread).count() > 0;
                    prop_assert_eq!(
                        pool.retire(&thread).is_ok(),
                        !serves && before.threads.iter().any(|t| t.id == thread)
                    );
                    None
                }
            };
            match leased {
                Some((n, Ok(holding))) => prop_assert!(model.insert(device(n), holding).is_none()),
                Some((_, Err(error))) => check_refusal(&error, &pool, &before),
                None => {}
            }
            check(&pool, &model);
        }
        // Disks before the controllers that they are on.
        let (disks, others): (Vec<_>, Vec<_>) = model.iter().partition(|(_, h)| address(h).is_some());
        for (device, holding) in disks.into_iter().chain(others) {
            prop_assert_eq!(pool.release(device), Some(holding.clone()));
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

#[test]
fn a_target_that_has_just_been_left_is_given_last() {
    let mut pool = pool(1, 1);
    let controller = DeviceId::new("scsi0").unwrap();
    pool.lease_controller(&controller, 1, &Placement::First)
        .unwrap();
    let target = |pool: &mut Pool, n| pool.lease_address(&device(n), &controller).unwrap().target;
    assert_eq!([0, 1].map(|n| target(&mut pool, n)), [0, 1]);
    let _ = pool.release(&device(1));
    assert_eq!(target(&mut pool, 2), 2);
    for n in 3..257 {
        target(&mut pool, n);
    }
    assert_eq!(
        pool.lease_address(&device(1), &controller)
            .map(|a| a.target)
            .ok(),
        None
    );
    let _ = pool.release(&device(0));
    assert_eq!(target(&mut pool, 1), 0);
}

#[test]
fn something_that_may_be_on_two_threads_keeps_both_until_it_is_released() {
    let mut pool = pool(3, 0);
    let [first, second] = [0, 1].map(IoThreadId::indep);
    pool.lease_thread(&device(0), &Placement::Dedicated)
        .unwrap();
    let lease = ThreadLease {
        assignment: Assignment::Thread(second.clone()),
        why: "it moves".into(),
    };
    pool.may_be_on(&device(0), &lease, &Placement::Dedicated);
    for thread in [&first, &second] {
        assert!(pool.clone().retire(thread).is_err());
        assert!(
            pool.lease_thread(&device(1), &Placement::Pinned(thread.clone()))
                .is_err()
        );
    }
    let _ = pool.release(&device(0));
    for thread in [&first, &second] {
        pool.retire(thread).unwrap();
    }
}
