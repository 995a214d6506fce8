//! Saved state: what is restored is what was, and what contradicts itself is refused.

use super::*;

fn busy() -> Pool {
    let mut pool = pool(3, 5);
    pool.lease(&device(0), 2, &Placement::Dedicated).unwrap();
    pool.lease_controller(&device(1), 1, &Placement::RoundRobin)
        .unwrap();
    pool.lease_address(&device(2), &device(1)).unwrap();
    pool.lease_address(&device(3), &device(1)).unwrap();
    pool.lease_thread(&device(4), &Placement::Pinned(IoThreadId::indep(2)))
        .unwrap();
    pool.reserve_any_slot().unwrap();
    pool
}

#[test]
fn restored_pool_goes_on_where_the_other_was() {
    let mut pool = busy();
    pool.release(&device(3)).unwrap();
    pool.lease(&device(5), 1, &Placement::MainLoop).unwrap();
    pool.release(&device(5)).unwrap();
    let mut restored = restored(&pool);
    let go_on = |pool: &mut Pool| {
        let lease = pool.lease(&device(6), 1, &Placement::RoundRobin).unwrap();
        let turn = lease.assignment.thread().unwrap().clone();
        let slot = lease.slot.to_string();
        let target = pool.lease_address(&device(7), &device(1)).unwrap().target;
        (turn, slot, target, pool.new_thread().id().clone())
    };
    let expected = (
        IoThreadId::indep(2),
        "rp4 0x0".to_owned(),
        2,
        IoThreadId::indep(3),
    );
    assert_eq!(go_on(&mut restored), expected);
    assert_eq!(go_on(&mut pool), expected);
}

/// A made-up id is not spent by a removal.
#[test]
fn id_of_a_thread_that_was_never_committed_is_not_used_again() {
    let mut pool = pool(1, 0);
    assert_eq!(pool.new_thread().id(), &IoThreadId::indep(1));
    assert_eq!(restored(&pool).new_thread().id(), &IoThreadId::indep(2));
}

fn message(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut SavedPool);
    let cases: [(Change, &str); 18] = [
        (
            |saved| saved.threads.push(IoThreadId::indep(0)),
            "the saved pool is invalid: duplicate IOThread `indep_iothread_0`: ids must be unique \
             within a VM",
        ),
        (
            |saved| saved.next_thread_number = 2,
            "the saved number of the next IOThread is 2, but IOThread `indep_iothread_2` exists",
        ),
        (
            |saved| drop(saved.threads.pop()),
            "IOThread `indep_iothread_2` of `disk4` is not among the saved IOThreads",
        ),
        (
            |saved| saved.last_in_turn = Some(IoThreadId::indep(7)),
            "IOThread `indep_iothread_7` of the last turn is not among the saved IOThreads",
        ),
        (
            |saved| {
                let Allocation::Thread(lease) = &mut saved.leases[4].1 else {
                    panic!("no thread")
                };
                lease.assignment = Assignment::Thread(IoThreadId::indep(0));
            },
            "IOThread `indep_iothread_0` is dedicated to `disk0`, but also leased to `disk4`",
        ),
        (
            |saved| saved.leases.push(saved.leases[0].clone()),
            "device `disk0` has two leases",
        ),
        (
            |saved| {
                let Allocation::Device(lease) = &mut saved.leases[0].1 else {
                    panic!("no device")
                };
                lease.queues = 1025;
            },
            "the saved pool is invalid: num-queues is 1025; it must be between 1 and 1024",
        ),
        (
            |saved| {
                let Allocation::Controller(lease) = &mut saved.leases[1].1 else {
                    panic!("no controller")
                };
                lease.queues = 1023;
            },
            "the saved pool is invalid: num-queues is 1023; it must be between 1 and 1022",
        ),
        (
            |saved| {
                let Allocation::Thread(lease) = &mut saved.leases[4].1 else {
                    panic!("no thread")
                };
                let threads = [1, 2].map(IoThreadId::indep).to_vec();
                lease.assignment = Assignment::Mapped(VqMapping::round_robin(threads).unwrap());
            },
            "the saved pool is invalid: iothread-vq-mapping names 2 IOThreads for 1 queue; name at \
             most one per queue",
        ),
        (
            |saved| saved.slots.push(saved.slots[0].clone()),
            "the saved pool is invalid: duplicate slot rp0 0x0",
        ),
        (
            |saved| drop(saved.slots.remove(0)),
            "slot rp0 0x0, which is leased to `disk0`, is not among the saved slots",
        ),
        (
            |saved| saved.free_slots.push(saved.slots[0].clone()),
            "slot rp0 0x0 is both free and leased to `disk0`",
        ),
        (
            |saved| saved.reserved_slots.push(saved.reserved_slots[0].clone()),
            "slot rp2 0x0 is both reserved and reserved",
        ),
        (
            |saved| {
                let Allocation::Device(lease) = saved.leases[0].1.clone() else {
                    panic!("no device")
                };
                let Allocation::Controller(other) = &mut saved.leases[1].1 else {
                    panic!("no controller")
                };
                other.slot = lease.slot;
            },
            "slot rp0 0x0 is both leased to `disk0` and leased to `disk1`",
        ),
        (
            |saved| drop(saved.free_slots.pop()),
            "slot rp4 0x0 is neither free nor reserved nor leased",
        ),
        (
            |saved| saved.leases[1].0 = device(9),
            "disk `disk2` is on `disk1`, which is not a saved SCSI controller",
        ),
        (
            |saved| saved.leases[2].1 = saved.leases[3].1.clone(),
            "disks `disk2` and `disk3` have the same target of a SCSI controller",
        ),
        (
            |saved| {
                let Allocation::Thread(lease) = saved.leases[4].1.clone() else {
                    panic!("no thread")
                };
                saved.possible.push((device(0), lease));
            },
            "device `disk0` may be on an IOThread, but holds no lease of one",
        ),
    ];
    for (change, expected) in cases {
        let mut saved = busy().save();
        change(&mut saved);
        assert_eq!(message(&Pool::restore(saved).unwrap_err()), expected);
    }
}

#[cfg(feature = "serde")]
#[test]
fn saved_state_is_plain_json_and_its_parts_are_checked() {
    let json = serde_json::to_string_pretty(&busy()).unwrap();
    insta::assert_snapshot!(json);
    let error = |from: &str, to: &str| {
        let text = json.replace(from, to);
        assert_ne!(text, json);
        let pool: Result<Pool, _> = serde_json::from_str(&text);
        pool.unwrap_err().to_string()
    };
    let bad = error("\"disk3\"", "\"disk 3\"");
    assert!(bad.starts_with("`disk 3` is not a valid QEMU id"), "{bad}");
    let bad = error("\"device\": 0", "\"device\": 32");
    assert!(bad.starts_with("device number 32 on bus"), "{bad}");
    let bad = error("\"next-thread-number\": 3", "\"next-thread-number\": 0");
    assert!(bad.starts_with("the saved number of the next"), "{bad}");
}
