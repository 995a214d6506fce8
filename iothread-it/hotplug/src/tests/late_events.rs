//! **Scope**: a DEVICE_DELETED that QEMU sends when another device has the id. It sends the event when the memory of
//! a device is free, which may be after it has listed the device no more.

use std::time::Instant;

use serde_json::json;

use super::many::{BOTH, Bench, name};
use super::*;
use crate::{Action, Answer, CommandId, Difference, Outcome};

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
        #[cfg(feature = "serde")]
        let saved = serde_json::from_value(json!(saved)).unwrap();
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

const DISK: &str = "disk0";

/// Answers commands and questions until a command of this name, whose reply is not given yet.
fn until(bench: &mut Bench, name: &str) -> CommandId {
    let now = Instant::now();
    loop {
        match bench.machine.poll_action() {
            Some(Action::Send { id, command }) if command.name() == name => return id,
            Some(Action::Send { id, command }) => {
                let reply = bench.returns.get(command.name()).cloned();
                bench.machine.reply(id, Ok(reply.unwrap_or(json!({}))), now);
            }
            Some(Action::AskGuest { id, .. }) => bench.machine.answer(id, Answer::Yes, now),
            None => panic!("no {name}"),
        }
    }
}

/// Returns what is sent to detach the disk, whose DEVICE_DELETED comes as soon as it is awaited.
fn sent_to_detach(bench: &mut Bench) -> Vec<String> {
    let before = bench.sent.len();
    bench.machine.detach(&name(DISK), soon(), Instant::now());
    if let Some(outcome) = bench.outcome() {
        panic!("{outcome:?}");
    }
    bench.listed(&[], &[DISK], &BOTH);
    bench.deleted(DISK);
    let outcome = bench.outcome();
    assert!(
        matches!(outcome, Some(Outcome::Detach(Ok(())))),
        "{outcome:?}"
    );
    bench.sent.split_off(before)
}

fn attach_disk(bench: &mut Bench) {
    let disk = DiskSpec::new(name(DISK), "/image");
    let (by, now) = (soon(), Instant::now());
    bench.machine.attach(&disk, &Placement::First, by, now);
    let outcome = bench.outcome();
    assert!(
        matches!(outcome, Some(Outcome::Attach(Ok(_)))),
        "{outcome:?}"
    );
}

/// The list says that the guest has ejected the disk; the event comes when the disk is there again.
#[test]
fn after_an_eject() {
    let mut bench = Bench::with_disks(&[]);
    let disk = DiskSpec::new(name(DISK), "/image");
    let (by, now) = (soon(), Instant::now());
    bench.machine.attach(&disk, &Placement::First, by, now);
    let added = until(&mut bench, "device_add");
    bench.machine.events_lost(now);
    bench.listed(&[], &[DISK], &BOTH);
    bench.machine.reply(added, Ok(json!({})), now);
    let added = until(&mut bench, "device_add");
    bench.machine.reply(added, Ok(json!({})), now);
    bench.listed(&[DISK], &[DISK], &BOTH);
    bench.deleted(DISK);
    assert!(matches!(bench.outcome(), Some(Outcome::Attach(Ok(_)))));
    bench.deleted(DISK);
    let sent = sent_to_detach(&mut bench);
    assert!(sent.contains(&"device_del".to_owned()), "{sent:?}");
}

/// Then it is not late, and the next device's event is believed.
#[test]
fn an_event_before_the_reply_to_the_deletion_of_the_node() {
    let mut bench = Bench::with_disks(&[DISK]);
    bench.machine.events_lost(Instant::now());
    bench.listed(&[], &[DISK], &BOTH);
    bench.machine.detach(&name(DISK), soon(), Instant::now());
    let deleted = until(&mut bench, "blockdev-del");
    bench.deleted(DISK);
    bench.machine.reply(deleted, Ok(json!({})), Instant::now());
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Ok(())))));
    attach_disk(&mut bench);
    assert_eq!(sent_to_detach(&mut bench), ["device_del", "blockdev-del"]);
}

/// The first detach is cancelled when QEMU has said that there is no such device. The second one finds the node still
/// in use, and awaits the event.
#[test]
fn an_event_that_a_cancelled_detach_had_to_await() {
    let refused = |class: &str| QmpError::Refused {
        command: "command",
        class: class.into(),
        desc: "no".into(),
    };
    let mut bench = Bench::with_disks(&[DISK]);
    let now = Instant::now();
    let first = bench.machine.detach(&name(DISK), soon(), now);
    let request = until(&mut bench, "device_del");
    bench
        .machine
        .reply(request, Err(refused("DeviceNotFound")), now);
    until(&mut bench, "blockdev-del");
    bench.machine.cancel(first.id());

    bench.listed(&[], &[DISK], &BOTH);
    let used = json!([{"inserted": {"node-name": DISK}}]);
    bench.returns.insert("query-block", used);
    bench.machine.detach(&name(DISK), soon(), now);
    let deletion = until(&mut bench, "blockdev-del");
    bench
        .machine
        .reply(deletion, Err(refused("GenericError")), now);
    let outcome = bench.outcome();
    assert!(outcome.is_none(), "{outcome:?}");
    bench.deleted(DISK);
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Ok(())))));
}

/// The close that the list has begun is cancelled, and its end is found by a comparison.
#[test]
fn after_a_close_that_is_cancelled() {
    let mut bench = Bench::with_disks(&[DISK]);
    let now = Instant::now();
    bench.machine.events_lost(now);
    bench.listed(&[], &[], &BOTH);
    let detach = bench.machine.detach(&name(DISK), soon(), now);
    until(&mut bench, "blockdev-del");
    bench.machine.cancel(detach.id());
    bench.machine.reconcile(soon(), now);
    assert!(matches!(bench.outcome(), Some(Outcome::Reconcile(Ok(_)))));
    attach_disk(&mut bench);
    bench.listed(&[DISK], &[DISK], &BOTH);
    bench.deleted(DISK);
    let sent = sent_to_detach(&mut bench);
    assert!(sent.contains(&"device_del".to_owned()), "{sent:?}");
}
