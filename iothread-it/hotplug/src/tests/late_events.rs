//! **Scope**: a DEVICE_DELETED that QEMU sends when another device has the id. It sends the event when the memory of
//! a device is free, which may be after it has listed the device no more.

use std::time::Instant;

use serde_json::json;

use super::many::{BOTH, Bench, name};
use super::*;
use crate::{Difference, Outcome};

const BALLOON: &str = "balloon0";

fn attach(bench: &mut Bench) {
    let (by, now) = (soon(), Instant::now());
    let place = Placement::First;
    bench
        .machine
        .attach_balloon(&name(BALLOON), &place, by, now);
    let outcome = bench.outcome();
    assert!(
        matches!(outcome, Some(Outcome::Attach(Ok(_)))),
        "{outcome:?}"
    );
}

fn detach(bench: &mut Bench) -> Option<Outcome> {
    bench.machine.detach(&name(BALLOON), soon(), Instant::now());
    bench.outcome()
}

/// A balloon, whose predecessor was closed in some way that needs no event.
fn second_balloon(close: impl FnOnce(&mut Bench)) -> Bench {
    let mut bench = Bench::with_disks(&[]);
    attach(&mut bench);
    bench.machine.events_lost(Instant::now());
    bench.listed(&[], &[], &BOTH);
    close(&mut bench);
    attach(&mut bench);
    bench.listed(&[BALLOON], &[], &BOTH);
    bench
}

fn closed_by_a_list(bench: &mut Bench) {
    let outcome = detach(bench);
    assert!(
        matches!(outcome, Some(Outcome::Detach(Ok(())))),
        "{outcome:?}"
    );
}

fn closed_by_a_comparison(bench: &mut Bench) {
    bench.machine.reconcile(soon(), Instant::now());
    let outcome = bench.outcome();
    let Some(Outcome::Reconcile(Ok(found))) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(found, [Difference::NothingLeft(name(BALLOON))]);
}

/// The second balloon stays until QEMU lists it no more, whichever event comes when.
fn keeps_the_second_until_its_own_removal(mut bench: Bench) {
    bench.deleted(BALLOON);
    let outcome = detach(&mut bench);
    assert!(outcome.is_none(), "{outcome:?}");
    bench.deleted(BALLOON);
    let outcome = bench.outcome();
    assert!(outcome.is_none(), "{outcome:?}");
    assert_eq!(bench.machine.pool().free_slots(), 3);
    bench.listed(&[], &[], &BOTH);
    bench.deleted(BALLOON);
    let outcome = bench.outcome();
    assert!(
        matches!(outcome, Some(Outcome::Detach(Ok(())))),
        "{outcome:?}"
    );
    assert_eq!(bench.machine.pool().free_slots(), 4);
}

#[test]
fn after_a_detach_by_the_list_of_devices() {
    keeps_the_second_until_its_own_removal(second_balloon(closed_by_a_list));
}

#[test]
fn after_a_settle() {
    let settled = |bench: &mut Bench| {
        bench.machine.settle(soon(), Instant::now());
        let outcome = bench.outcome();
        let Some(Outcome::Settle(Ok(progress))) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(progress.removed, [name(BALLOON)]);
    };
    keeps_the_second_until_its_own_removal(second_balloon(settled));
}

#[test]
fn after_a_comparison() {
    keeps_the_second_until_its_own_removal(second_balloon(closed_by_a_comparison));
}

#[test]
fn after_a_restart_of_the_manager() {
    let restarted = |bench: &mut Bench| {
        closed_by_a_list(bench);
        let saved = bench.machine.save();
        bench.machine = crate::Hotplug::restore(saved, options(), QemuVersion::OLDEST);
    };
    keeps_the_second_until_its_own_removal(second_balloon(restarted));
}

/// A rejection is never late: QEMU sends none about a device that is gone.
#[test]
fn a_rejection_counts_for_the_second() {
    let mut bench = second_balloon(closed_by_a_list);
    assert!(detach(&mut bench).is_none());
    bench.event("DEVICE_UNPLUG_GUEST_ERROR", BALLOON);
    let outcome = bench.outcome();
    assert!(
        matches!(
            outcome,
            Some(Outcome::Detach(Err(DetachError::GuestRejected { .. })))
        ),
        "{outcome:?}"
    );
}

/// Then no other device's event can come, and QEMU is asked for no list.
#[test]
fn after_an_event_no_list_is_read() {
    let mut bench = Bench::with_disks(&[]);
    for _ in 0..2 {
        attach(&mut bench);
        assert!(detach(&mut bench).is_none());
        bench.deleted(BALLOON);
        assert!(bench.outcome().is_some());
    }
    assert_eq!(
        json!(bench.sent),
        json!(["device_add", "device_del", "device_add", "device_del"])
    );
}

#[test]
fn after_an_event_and_a_comparison_no_list_is_read() {
    let mut bench = Bench::with_disks(&[]);
    attach(&mut bench);
    bench.deleted(BALLOON);
    bench.listed(&[], &[], &BOTH);
    closed_by_a_comparison(&mut bench);
    attach(&mut bench);
    bench.sent.clear();
    assert!(detach(&mut bench).is_none());
    bench.deleted(BALLOON);
    assert!(bench.outcome().is_some());
    assert_eq!(bench.sent, ["device_del"]);
}
