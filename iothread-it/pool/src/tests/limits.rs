//! What a pool refuses by number, and what it returns about what it gave.

use super::*;

#[test]
fn a_device_has_at_most_as_many_queues_as_virtio_allows() {
    let mut pool = pool(1, 4);
    assert!(pool.lease(&device(0), 1024, &Placement::First).is_ok());
    assert!(
        pool.lease_controller(&device(1), 1022, &Placement::First)
            .is_ok()
    );
    let refused = |queues, limit| Err(PoolError::Queues { queues, limit });
    for queues in [0, 1025, u16::MAX] {
        let lease = pool.lease(&device(2), queues, &Placement::First);
        assert_eq!(lease.map(|_| ()), refused(queues, 1024));
    }
    for queues in [0, 1023] {
        let lease = pool.lease_controller(&device(2), queues, &Placement::First);
        assert_eq!(lease.map(|_| ()), refused(queues, 1022));
    }
    assert_eq!(pool.free_slots(), 2);
}

#[test]
fn a_full_bus_is_an_error_with_its_number_of_slots() {
    let mut pool = pool(1, 3);
    for n in 0..3 {
        pool.lease(&device(n), 1, &Placement::First).unwrap();
    }
    let lease = pool.lease(&device(3), 1, &Placement::First);
    assert_eq!(lease.map(|_| ()), Err(PoolError::NoFreeSlot { total: 3 }));
}

#[test]
fn what_was_given_is_returned_until_it_is_released() {
    let mut pool = pool(1, 2);
    let lease = pool.lease(&device(0), 2, &Placement::First).unwrap();
    assert_eq!(pool.lease_of(&device(0)), Some(&lease));
    let thread = pool.lease_thread(&device(1), &Placement::First).unwrap();
    assert_eq!(
        pool.allocation_of(&device(1)),
        Some(&Allocation::Thread(thread))
    );
    assert_eq!(pool.lease_of(&device(1)), None);
    pool.release(&device(0)).unwrap();
    assert_eq!(pool.lease_of(&device(0)), None);
}

#[test]
fn a_table_returns_every_slot_free_or_not() {
    let mut table = SlotTable::root_ports(2);
    let all = table.all().to_vec();
    let texts: Vec<_> = all.iter().map(PciSlot::to_string).collect();
    assert_eq!(texts, ["rp0 0x0", "rp1 0x0"]);
    table.take();
    assert_eq!(table.all(), all);
}
