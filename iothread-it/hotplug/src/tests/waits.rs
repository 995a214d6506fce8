//! **Scope**: what operations wait for, and when the driver must come back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::many::{BOTH, Bench, name};
use super::*;
use crate::{Action, Outcome, Presence};

/// Answers commands until the guest is asked.
fn question(bench: &mut Bench) -> crate::QuestionId {
    loop {
        match bench.machine.poll_action() {
            Some(Action::Send { id, .. }) => bench.machine.reply(id, Ok(json!({})), Instant::now()),
            Some(Action::AskGuest { id, .. }) => return id,
            None => panic!("no question"),
        }
    }
}

#[test]
fn driver_wakes_for_the_first_deadline() {
    let mut bench = Bench::with_disks(&["disk0", "disk1"]);
    assert_eq!(bench.machine.wake_at(), None);
    let now = Instant::now();
    let [first, second] = [10, 20].map(|seconds| Deadline::after(Duration::from_secs(seconds)));
    bench.machine.detach(&name("disk1"), second, now);
    assert_eq!(bench.machine.wake_at(), second.at());
    bench.machine.detach(&name("disk0"), first, now);
    assert_eq!(bench.machine.wake_at(), first.at());
}

#[test]
fn commands_that_were_not_given_out_are_dropped_with_the_connection() {
    let mut bench = Bench::with_disks(&["disk0"]);
    let disk = DiskSpec::new(name("disk1"), "/image");
    let (by, now) = (soon(), Instant::now());
    bench.machine.attach(&disk, &Placement::First, by, now);
    // Its question to the guest stays.
    while let Some(Action::Send { id, .. }) = bench.machine.poll_action() {
        bench.machine.reply(id, Ok(json!({})), now);
        if bench.machine.state_of(&name("disk1")) == Some(DiskState::Attached) {
            break;
        }
    }
    bench.machine.detach(&name("disk0"), by, now);
    bench.machine.connection_lost("it broke", now);
    let mut left = Vec::new();
    while let Some(action) = bench.machine.poll_action() {
        left.push(matches!(action, Action::AskGuest { .. }));
    }
    assert!(left.iter().all(|is_question| *is_question), "{left:?}");
}

/// An attach that waits for the guest is concerned by its own device only.
#[test]
fn another_device_that_goes_does_not_disturb_an_attach() {
    let mut bench = Bench::with_disks(&["disk0"]);
    let disk = DiskSpec::new(name("disk1"), "/image");
    let (by, now) = (soon(), Instant::now());
    bench.machine.attach(&disk, &Placement::First, by, now);
    let question = question(&mut bench);
    bench.deleted("disk0");
    assert!(bench.machine.poll_action().is_none(), "it is asked again");
    bench.machine.answer(question, crate::Answer::Yes, now);
    assert!(matches!(bench.outcome(), Some(Outcome::Attach(Ok(_)))));
}

/// The guest would answer about a device that is not there, as late as it likes.
#[test]
fn a_device_that_the_guest_ejects_is_plugged_in_again_before_the_guest_answers() {
    let plugged = |start: fn(&mut crate::Hotplug, &DiskSpec, Deadline, Instant)| {
        let mut bench = Bench::with_disks(&["disk0"]);
        let disk = DiskSpec::new(name("disk1"), "/image");
        let (by, now) = (soon(), Instant::now());
        start(&mut bench.machine, &disk, by, now);
        // What goes before it: of a move, the former device.
        while let Some(action) = bench.machine.poll_action() {
            match action {
                Action::Send { id, command } => {
                    bench.machine.reply(id, Ok(json!({})), now);
                    if command.name() == "device_del" {
                        bench.deleted("disk0");
                    }
                }
                Action::AskGuest {
                    id,
                    awaited: Presence::Absent,
                    ..
                } => {
                    bench.machine.answer(id, crate::Answer::Yes, now);
                }
                Action::AskGuest { disk, .. } => {
                    bench.deleted(disk.id.as_str());
                    break;
                }
            }
        }
        bench.machine.poll_action()
    };
    let absent = |action| match action {
        Some(Action::AskGuest {
            disk,
            awaited: Presence::Absent,
            ..
        }) => Some(disk.id.to_string()),
        _ => None,
    };
    let attached = plugged(|machine, disk, by, now| {
        machine.attach(disk, &Placement::First, by, now);
    });
    assert_eq!(absent(attached).as_deref(), Some("disk1"));
    let moved = plugged(|machine, _, by, now| {
        let disk = DiskSpec::new(name("disk0"), "/image");
        machine.move_disk(&disk, &Placement::MainLoop, by, now);
    });
    assert_eq!(absent(moved).as_deref(), Some("disk0"));
}

#[test]
fn message_of_a_timeout_names_the_newest_events() {
    let mut bench = Bench::with_disks(&["disk0"]);
    let by = Deadline::after(Duration::from_secs(1));
    bench.machine.detach(&name("disk0"), by, Instant::now());
    assert!(bench.outcome().is_none());
    for number in 0..7 {
        bench.event(&format!("EVENT_{number}"), "other");
    }
    bench
        .machine
        .pass_time(Instant::now() + Duration::from_secs(2));
    let outcome = bench.outcome();
    let Some(Outcome::Detach(Err(DetachError::Pending { source, .. }))) = outcome else {
        panic!("{outcome:?}");
    };
    let text = source.to_string();
    let newest = "(last events: EVENT_2, EVENT_3, EVENT_4, EVENT_5, EVENT_6)";
    assert!(text.ends_with(newest), "{text}");
}

#[test]
fn guest_that_does_not_release_the_last_disk_of_an_address_is_named() {
    let mut bench = Bench::with_disks(&[]);
    let by = Deadline::after(Duration::from_secs(1));
    let now = Instant::now();
    let controller = ScsiController::new(name("scsi0"));
    bench
        .machine
        .attach_controller(&controller, &Placement::First, by, now);
    assert!(bench.outcome().is_some());
    let disk = DiskSpec::new(name("disk0"), "/image");
    bench.machine.attach_on(&controller.id, &disk, by, now);
    question(&mut bench);
    bench.listed(&[], &["disk0"], &BOTH);
    bench.machine.pass_time(now + Duration::from_secs(2));
    let outcome = bench.outcome();
    let Some(Outcome::Attach(Err(error))) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(error.step, Step::AwaitAbsent, "{error}");
}

/// Events can be missed by an operation that reads QEMU's list and is cancelled, and by no other.
#[test]
fn devices_are_looked_up_after_a_list_that_was_not_read() {
    let detached = |cancelled: fn(&mut Bench) -> crate::OperationId| {
        let mut bench = Bench::with_disks(&["disk0", "disk1"]);
        let operation = cancelled(&mut bench);
        bench.machine.cancel(operation);
        while bench.machine.poll_action().is_some() {}
        bench.listed(&["disk0", "disk1"], &["disk0", "disk1"], &BOTH);
        bench.machine.detach(&name("disk0"), soon(), Instant::now());
        assert!(bench.outcome().is_none());
        bench.sent.split_off(bench.sent.len() - 2)
    };
    let list = detached(|bench| bench.machine.reconcile(soon(), Instant::now()).id());
    assert_eq!(list, ["qom-list", "device_del"]);
    let other = detached(|bench| {
        bench
            .machine
            .detach(&name("disk1"), soon(), Instant::now())
            .id()
    });
    assert_eq!(other, ["device_add", "device_del"]);
}

/// The command whose reply is missing may have been executed, and no other tells whether it was.
#[test]
fn a_lost_reply_is_named_and_nothing_is_queried_after_it() {
    let detached = |machine: &mut crate::Hotplug, by, now| {
        machine.detach(&name("disk0"), by, now);
    };
    let closed = |machine: &mut crate::Hotplug, by, now| {
        machine.close_node(&name("node0"), by, now);
    };
    let removed = |machine: &mut crate::Hotplug, by, now| {
        machine.remove_thread(&IoThreadId::indep(1), by, now);
    };
    let unexported = |machine: &mut crate::Hotplug, by, now| {
        machine.close_node(&name("export0"), by, now);
    };
    type Operation = fn(&mut crate::Hotplug, Deadline, Instant);
    let cases: [(Operation, &str); 4] = [
        (detached, "blockdev-del"),
        (closed, "blockdev-del"),
        (unexported, "block-export-del"),
        (removed, "object-del"),
    ];
    for (operation, lost) in cases {
        let mut bench = Bench::with_disks(&["disk0"]);
        bench.with_node("node0");
        let (by, now) = (soon(), Instant::now());
        let exported = DiskSpec::new(name("export0"), "/image");
        bench
            .machine
            .export(&exported, &Placement::MainLoop, by, now);
        assert!(matches!(bench.outcome(), Some(Outcome::Attach(Ok(_)))));
        operation(&mut bench.machine, by, now);
        loop {
            match bench.machine.poll_action() {
                Some(Action::Send { command, .. }) if command.name() == lost => break,
                Some(Action::Send { id, command }) => {
                    bench.machine.reply(id, Ok(json!({})), now);
                    if command.name() == "device_del" {
                        bench.deleted("disk0");
                    }
                }
                other => panic!("{lost}: {other:?}"),
            }
        }
        bench.machine.pass_time(by.at().unwrap());
        assert!(bench.machine.poll_action().is_none(), "{lost}");
        let (_, outcome) = bench.machine.poll_outcome().unwrap();
        let awaited = format!("the reply to {lost}");
        assert!(format!("{outcome:?}").contains(&awaited), "{outcome:?}");
    }
}
