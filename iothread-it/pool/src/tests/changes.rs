//! **Scope**: moves and removals whose reply has their result.

use super::*;

fn in_use(pool: &Pool) -> Vec<usize> {
    let users = |n: &usize| pool.served_by(&IoThreadId::indep(*n)).count() > 0;
    (0..3).filter(users).collect()
}

fn moving(pool: &mut Pool, to: &Placement) -> ThreadLease {
    pool.lease_thread(&device(0), &Placement::Dedicated)
        .unwrap();
    let mut trial = pool.clone();
    trial.release(&device(0)).unwrap();
    let lease = trial.lease_thread(&device(0), to).unwrap();
    pool.may_be_on(&device(0), &lease);
    lease
}

#[test]
fn moved_node_is_on_its_new_thread_alone() {
    let mut pool = pool(3, 1);
    let to = Placement::Pinned(IoThreadId::indep(2));
    let lease = moving(&mut pool, &to);
    assert_eq!(in_use(&pool), [0, 2]);
    pool.is_on(&device(0), lease).unwrap();
    assert_eq!(in_use(&pool), [2]);
    // It is dedicated to nothing any more.
    pool.lease(&device(1), 1, &Placement::First).unwrap();
    assert_eq!(in_use(&pool), [0, 2]);
    pool.release(&device(0)).unwrap();
    assert_eq!(in_use(&pool), [0]);
}

#[test]
fn node_that_was_not_moved_keeps_its_dedicated_thread() {
    for to in [1, 0] {
        let mut pool = pool(3, 1);
        let lease = moving(&mut pool, &Placement::Pinned(IoThreadId::indep(to)));
        pool.is_not_on(&device(0), &lease);
        assert_eq!(in_use(&pool), [0]);
        let shared = pool.lease(&device(1), 1, &Placement::First).unwrap();
        assert_eq!(shared.assignment.thread(), Some(&IoThreadId::indep(1)));
        pool.release(&device(0)).unwrap();
        assert_eq!(in_use(&pool), [1]);
    }
}

#[test]
fn thread_that_qemu_keeps_is_back_in_its_place() {
    let mut pool = pool(3, 1);
    let first = IoThreadId::indep(0);
    pool.remove_thread(&first).unwrap();
    pool.restore_thread(first.clone(), 0);
    pool.restore_thread(first.clone(), 0);
    assert_eq!(pool.threads(), [0, 1, 2].map(IoThreadId::indep));
}

#[test]
fn a_refused_move_concerns_its_device_alone() {
    let mut pool = pool(2, 0);
    let to = Placement::Pinned(IoThreadId::indep(1));
    let from = Placement::Pinned(IoThreadId::indep(0));
    let mut leases = Vec::new();
    for n in [0, 1] {
        let mut trial = pool.clone();
        let lease = trial.lease_thread(&device(n), &to).unwrap();
        pool.lease_thread(&device(n), &from).unwrap();
        pool.may_be_on(&device(n), &lease);
        leases.push(lease);
    }
    pool.is_not_on(&device(1), &leases[1]);
    let error = pool.remove_thread(&IoThreadId::indep(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IOThread `indep_iothread_1` still serves disk0; detach first"
    );
    pool.is_not_on(&device(0), &leases[0]);
    pool.remove_thread(&IoThreadId::indep(1)).unwrap();
}

#[test]
fn an_allocation_has_its_assignment_and_queues_and_ids_their_texts() {
    let mut pool = pool(1, 1);
    pool.lease(&device(0), 3, &Placement::First).unwrap();
    let id = device(0);
    assert_eq!(id.as_str(), "disk0");
    let allocation = pool.allocation_of(&id).expect("an allocation");
    let (assignment, queues) = allocation.assignment().expect("an assignment");
    let thread = assignment.thread().expect("a thread");
    assert_eq!((thread.as_str(), queues), ("indep_iothread_0", 3));
    let slot = PciSlot::new("pcie.1", 7).unwrap();
    assert_eq!((slot.bus(), slot.device()), ("pcie.1", 7));
}
