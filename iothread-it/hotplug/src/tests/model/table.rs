//! Every verb, at each of its commands, with every fault.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::time::Instant;

use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::wait::Deadline;

use super::world::{Fault, World};
use crate::{DiskSpec, Hotplug, OperationId, Polling, ScsiController};

/// Starts an operation.
pub(super) type Operation = fn(&mut Hotplug, Deadline, Instant) -> OperationId;

fn name(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

fn disk(id: &str) -> DiskSpec {
    DiskSpec {
        queues: Some(2),
        ..DiskSpec::new(name(id), "/image")
    }
}

fn pinned(thread: usize) -> Placement {
    Placement::Pinned(IoThreadId::indep(thread))
}

const ATTACH: Operation = |h, by, now| {
    h.attach(&disk("disk0"), &Placement::Dedicated, by, now)
        .id()
};
const SPREAD: Operation = |h, by, now| {
    let spread = Placement::Spread(NonZeroUsize::new(2).unwrap());
    h.attach(&disk("disk0"), &spread, by, now).id()
};
const DETACH: Operation = |h, by, now| h.detach(&name("disk0"), by, now).id();
const MOVE: Operation = |h, by, now| h.move_disk(&disk("disk0"), &pinned(2), by, now).id();
const CONTROLLER: Operation = |h, by, now| {
    let controller = ScsiController::new(name("scsi0"));
    h.attach_controller(&controller, &Placement::Dedicated, by, now)
        .id()
};
const ATTACH_ON: Operation = |h, by, now| h.attach_on(&name("scsi0"), &disk("hd0"), by, now).id();
const DETACH_ON: Operation = |h, by, now| h.detach(&name("hd0"), by, now).id();
const DETACH_CONTROLLER: Operation = |h, by, now| h.detach(&name("scsi0"), by, now).id();
const BALLOON: Operation = |h, by, now| {
    h.attach_balloon(&name("balloon0"), &Placement::Dedicated, by, now)
        .id()
};
const DETACH_BALLOON: Operation = |h, by, now| h.detach(&name("balloon0"), by, now).id();
const OPEN: Operation = |h, by, now| h.open_node(&disk("node0"), &pinned(0), by, now).id();
const MOVE_NODE: Operation = |h, by, now| h.move_node(&name("node0"), &pinned(1), by, now).id();
const EXPORT: Operation = |h, by, now| {
    h.export(&disk("node0"), &Placement::Dedicated, by, now)
        .id()
};
const CLOSE: Operation = |h, by, now| h.close_node(&name("node0"), by, now).id();
const ADD_THREAD: Operation = |h, by, now| h.add_thread(Polling::default(), by, now).id();
const REMOVE_THREAD: Operation = |h, by, now| h.remove_thread(&IoThreadId::indep(1), by, now).id();
const LOSE_EVENTS_AND_SETTLE: Operation = |h, by, now| {
    h.events_lost(now);
    h.settle(by, now).id()
};
const RECONCILE: Operation = |h, by, now| h.reconcile(by, now).id();

/// Each with what comes before it.
const VERBS: [(&str, &[Operation], Operation); 17] = [
    ("attach", &[], ATTACH),
    ("attach, mapped", &[], SPREAD),
    ("detach", &[ATTACH], DETACH),
    ("move", &[ATTACH], MOVE),
    ("attach a controller", &[], CONTROLLER),
    ("attach on a controller", &[CONTROLLER], ATTACH_ON),
    (
        "detach from a controller",
        &[CONTROLLER, ATTACH_ON],
        DETACH_ON,
    ),
    ("detach a controller", &[CONTROLLER], DETACH_CONTROLLER),
    ("attach a balloon", &[], BALLOON),
    ("detach a balloon", &[BALLOON], DETACH_BALLOON),
    ("open a node", &[], OPEN),
    ("move a node", &[OPEN], MOVE_NODE),
    ("export", &[], EXPORT),
    ("close an export", &[EXPORT], CLOSE),
    ("add a thread", &[], ADD_THREAD),
    ("remove a thread", &[], REMOVE_THREAD),
    ("reconcile", &[ATTACH], RECONCILE),
];

fn prepared(before: &[Operation]) -> World {
    let mut world = World::new(1);
    for operation in before {
        assert!(world.operate(*operation));
    }
    world.heard.clear();
    world
}

#[test]
fn every_verb_at_every_step_with_every_fault() {
    let mut table = String::new();
    let mut runs = 0;
    for (verb, before, operation) in VERBS {
        let mut undisturbed = prepared(before);
        assert!(undisturbed.operate(operation), "{verb}");
        let commands = undisturbed.heard.clone();
        undisturbed.recovers();
        assert!(!commands.is_empty(), "{verb}");
        for (step, command) in commands.iter().enumerate() {
            write!(table, "{verb}: {command}:").unwrap();
            for fault in Fault::ALL {
                let mut world = prepared(before);
                world.armed = Some((step, fault));
                let outcome = match world.operate(operation) {
                    true => "ok",
                    false => "fails",
                };
                assert!(world.armed.is_none(), "{verb}, {fault:?} at {command}");
                write!(table, " {fault:?} {outcome},").unwrap();
                world.recovers();
                runs += 1;
            }
            table.pop();
            table.push('\n');
        }
    }
    insta::assert_snapshot!(format!("{table}{runs} runs\n"));
}

/// A guest that ejects a disk whose events are lost.
#[test]
fn lost_events_are_made_up_for_by_the_list_of_devices() {
    let mut world = prepared(&[ATTACH]);
    drop(world.qemu.remove("disk0"));
    assert!(world.operate(LOSE_EVENTS_AND_SETTLE));
    assert_eq!(world.device_state("disk0"), None);
    world.recovers();
}
