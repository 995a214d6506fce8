//! What a pool does, step by step. [`property`] has what it promises over any order of steps.

mod changes;
mod limits;
mod model;
mod policies;
mod property;
mod saved;

use std::num::NonZeroUsize;

use super::*;

fn device(n: usize) -> DeviceId {
    DeviceId::new(format!("disk{n}")).unwrap()
}

fn pool(threads: usize, slots: usize) -> Pool {
    Pool::new(
        (0..threads).map(IoThreadId::indep).collect(),
        SlotTable::root_ports(slots),
    )
    .unwrap()
}

/// What a manager gets that is started again. With `serde` the state goes through JSON.
fn restored(pool: &Pool) -> Pool {
    let saved = pool.save();
    #[cfg(feature = "serde")]
    let saved: SavedPool = {
        let json = serde_json::to_string(pool).unwrap();
        assert_eq!(json, serde_json::to_string(&saved).unwrap());
        serde_json::from_str(&json).unwrap()
    };
    let restored = Pool::restore(saved).unwrap();
    assert_eq!(restored.save(), pool.save());
    restored
}

fn spread(threads: usize) -> Placement {
    Placement::Spread(NonZeroUsize::new(threads).unwrap())
}

fn served(pool: &mut Pool, n: usize, placement: &Placement) -> String {
    let lease = pool.lease(&device(n), 1, placement).unwrap();
    lease.assignment.thread().unwrap().to_string()
}

#[test]
fn unknown_thread_is_refused_and_takes_no_slot() {
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
fn round_robin_skips_a_removed_thread() {
    let mut pool = pool(3, 10);
    let turn = Placement::RoundRobin;
    let names: Vec<_> = (0..4).map(|n| served(&mut pool, n, &turn)).collect();
    assert_eq!(
        names,
        [0, 1, 2, 0].map(|n| IoThreadId::indep(n).to_string())
    );
    assert_eq!(served(&mut pool, 4, &turn), "indep_iothread_1");
    for n in [1, 4] {
        pool.release(&device(n)).unwrap();
    }
    pool.remove_thread(&IoThreadId::indep(1)).unwrap();
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
    pool.release(&device(0)).unwrap();
    assert_eq!(served(&mut pool, 2, &Placement::First), "indep_iothread_0");
}

#[test]
fn thread_in_use_is_not_removed_and_ids_are_not_reused() {
    let mut pool = pool(2, 10);
    let second = Placement::Pinned(IoThreadId::indep(1));
    pool.lease(&device(0), 1, &second).unwrap();
    let error = pool.remove_thread(&IoThreadId::indep(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IOThread `indep_iothread_1` still serves disk0; detach first"
    );
    pool.release(&device(0)).unwrap();
    pool.remove_thread(&IoThreadId::indep(1)).unwrap();
    let new = pool.new_thread();
    assert_eq!(new.id(), &IoThreadId::indep(2));
    pool.commit_thread(new);
    assert_eq!(pool.threads(), [0, 2].map(IoThreadId::indep));
}

#[test]
fn state_shows_threads_devices_and_placements() {
    let mut pool = pool(3, 4);
    pool.lease(&device(0), 4, &Placement::LeastLoaded).unwrap();
    pool.lease(&device(1), 3, &spread(2)).unwrap();
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
    pool.release(&device(1)).unwrap();
    let again = pool.lease_address(&device(3), &controller).unwrap();
    assert_eq!(again.to_string(), "target 2 of disk0");
    assert_eq!(pool.free_slots(), 3, "a disk on a controller takes no slot");

    let busy = pool.remove_thread(&IoThreadId::indep(1)).unwrap_err();
    assert_eq!(
        busy.to_string(),
        "IOThread `indep_iothread_1` still serves disk0, disk2, disk3; detach first"
    );
    assert_eq!(
        pool.release(&controller).unwrap_err().to_string(),
        "SCSI controller `disk0` still has disks (disk2, disk3); release them first"
    );
    for n in [2, 3, 0] {
        pool.release(&device(n)).unwrap();
    }
    assert_eq!(
        pool.release(&controller).unwrap_err().to_string(),
        "device `disk0` has no lease"
    );
    assert_eq!(pool.remove_thread(&IoThreadId::indep(1)), Ok(()));
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
        "SCSI controller `disk0` has no free target (256 disks attached)"
    );
}

#[test]
fn device_without_queues_has_one_thread_and_no_slot() {
    let mut pool = pool(2, 1);
    let export = pool
        .lease_thread(&device(0), &Placement::LeastLoaded)
        .unwrap();
    assert_eq!(export.assignment.thread(), Some(&IoThreadId::indep(0)));
    assert_eq!(pool.free_slots(), 1);
    let error = pool.lease_thread(&device(1), &spread(2)).unwrap_err();
    assert_eq!(error, PoolError::OneThread { id: device(1) });
    // It counts like a disk of one queue.
    assert_eq!(
        served(&mut pool, 2, &Placement::LeastLoaded),
        "indep_iothread_1"
    );
}

/// QEMU refers to every thread of a mapping until the device is deleted, so a thread without a queue
/// would be busy and idle at once.
#[test]
fn a_mapping_of_more_threads_than_queues_is_refused() {
    let mut pool = pool(2, 5);
    let both = VqMapping::round_robin([0, 1].map(IoThreadId::indep).to_vec()).unwrap();
    let both = Placement::Mapped(both);
    let refused = VqMappingError::TooFewQueues {
        threads: 2,
        queues: 1,
    };
    assert_eq!(
        pool.lease(&device(0), 1, &both),
        Err(PoolError::Mapping(refused))
    );
    assert_eq!(pool.free_slots(), 5);
    pool.lease(&device(0), 2, &both).unwrap();
    let second = IoThreadId::indep(1);
    let served: Vec<_> = pool.served_by(&second).collect();
    assert_eq!(served, [&device(0)]);
    assert_eq!(
        pool.lease(&device(1), 1, &Placement::Dedicated),
        Err(PoolError::NoIdleThread { total: 2 })
    );
    assert!(matches!(
        pool.remove_thread(&second),
        Err(PoolError::InUse { .. })
    ));
    pool.release(&device(0)).unwrap();
    assert_eq!(pool.remove_thread(&second), Ok(()));
}

#[test]
fn a_device_is_not_spread_over_more_threads_than_it_has_queues() {
    let mut pool = pool(4, 1);
    let error = pool.lease(&device(0), 1, &spread(4)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot spread a device with 1 queue over 4 IOThreads: each needs at least one queue; \
         request fewer threads or more queues"
    );
    assert_eq!(pool.free_slots(), 1);
    assert!(pool.lease(&device(0), 4, &spread(4)).is_ok());
}

#[test]
fn duplicate_thread_is_refused() {
    let twice = [0, 1, 0].map(IoThreadId::indep).to_vec();
    let error = Pool::new(twice, SlotTable::root_ports(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "duplicate IOThread `indep_iothread_0`: ids must be unique within a VM"
    );
}

/// A manager that starts anew has the list of `query-iothreads`, and the number that it kept.
#[test]
fn rebuilt_pool_does_not_reuse_ids() {
    let built = |names: &[&str]| {
        let threads = names.iter().map(|name| IoThreadId::new(*name).unwrap());
        Pool::new(threads.collect(), SlotTable::root_ports(1)).unwrap()
    };
    let next = |pool: &mut Pool| pool.new_thread().id().to_string();
    let mut pool = built(&["other_9", "indep_iothread_2", "indep_iothread_1x"]);
    pool.remove_thread(&IoThreadId::indep(2)).unwrap();
    assert_eq!(next(&mut pool), "indep_iothread_3");
    // Its thread 3 was removed too, which no list shows.
    let kept = pool.next_thread_number();
    let mut pool = built(&["other_9"]);
    pool.skip_thread_numbers_below(kept);
    assert_eq!(next(&mut pool), "indep_iothread_4");
    pool.skip_thread_numbers_below(0);
    assert_eq!(next(&mut pool), "indep_iothread_5");
}

#[test]
fn threads_are_leased_without_slots() {
    let mut pool = pool(3, 0);
    let lease = pool.lease_threads(&device(0), Demand::new(3), &spread(2));
    let Assignment::Mapped(mapping) = lease.unwrap().assignment else {
        panic!("it is not mapped")
    };
    let threads: Vec<_> = mapping.threads().cloned().collect();
    assert_eq!(threads, [0, 1].map(IoThreadId::indep));
    let load: Vec<_> = pool.state().threads.iter().map(|t| t.load).collect();
    assert_eq!(load, [2, 1, 0]);
    assert!(pool.remove_thread(&IoThreadId::indep(1)).is_err());
    pool.release(&device(0)).unwrap();
    assert_eq!(pool.remove_thread(&IoThreadId::indep(1)), Ok(()));
    let none = pool.lease_threads(&device(0), Demand::new(0), &Placement::First);
    assert_eq!(
        none.unwrap_err().to_string(),
        "num-queues is 0; it must be between 1 and 1024"
    );
}

#[test]
fn slots_are_reserved_and_leased_by_name() {
    let slot = |bus, n| PciSlot::new(bus, n).unwrap();
    let (card, near, far) = (slot("br0", 1), slot("br0", 2), slot("br1", 1));
    let slots = SlotTable::new([card.clone(), near.clone(), far.clone()]).unwrap();
    let mut pool = Pool::new(vec![IoThreadId::indep(0)], slots).unwrap();
    pool.reserve_slot(&card).unwrap();
    let lease = |pool: &mut Pool, n, slot: Option<&PciSlot>| {
        let lease = pool.lease_in(&device(n), Demand::new(1), &Placement::First, slot);
        lease.map(|lease| lease.slot).map_err(|e| e.to_string())
    };
    assert_eq!(lease(&mut pool, 0, Some(&far)), Ok(far.clone()));
    assert_eq!(
        lease(&mut pool, 1, Some(&far)).unwrap_err(),
        "slot br1 0x1 is in use by `disk0`"
    );
    assert_eq!(
        lease(&mut pool, 1, Some(&card)).unwrap_err(),
        "slot br0 0x1 is reserved"
    );
    assert_eq!(
        lease(&mut pool, 1, Some(&slot("br2", 1))).unwrap_err(),
        "the pool has no slot br2 0x1"
    );
    assert_eq!(
        pool.free_slot(&far).unwrap_err().to_string(),
        "slot br1 0x1 is not reserved"
    );
    assert_eq!(pool.reserve_any_slot(), Ok(near.clone()));
    assert_eq!(
        lease(&mut pool, 1, None).unwrap_err(),
        "all 3 hotplug slots are in use; detach a device first"
    );
    pool.free_slot(&card).unwrap();
    assert_eq!(lease(&mut pool, 1, None), Ok(card));
}

#[test]
fn released_target_is_reused_last() {
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
fn device_possibly_on_two_threads_keeps_both_until_released() {
    let mut pool = pool(3, 0);
    let [first, second] = [0, 1].map(IoThreadId::indep);
    pool.lease_thread(&device(0), &Placement::Dedicated)
        .unwrap();
    let mut after = pool.clone();
    after.release(&device(0)).unwrap();
    let lease = after.lease_thread(&device(1), &Placement::Pinned(second.clone()));
    let lease = ThreadLease {
        dedicated: true,
        ..lease.unwrap()
    };
    pool.may_be_on(&device(0), &lease);
    for thread in [&first, &second] {
        assert!(pool.clone().remove_thread(thread).is_err());
        assert!(
            pool.lease_thread(&device(1), &Placement::Pinned(thread.clone()))
                .is_err()
        );
    }
    let _ = pool.release(&device(0));
    for thread in [&first, &second] {
        pool.remove_thread(thread).unwrap();
    }
}
