//! **Scope**: each difference that a comparison with QEMU finds, and what is none.

use std::time::Instant;

use serde_json::json;

use super::many::{BOTH, Bench, name};
use super::*;
use crate::{Action, Difference, Outcome};

fn found(bench: &mut Bench) -> Vec<Difference> {
    bench.machine.reconcile(soon(), Instant::now());
    finished(bench)
}

fn finished(bench: &mut Bench) -> Vec<Difference> {
    let outcome = bench.outcome();
    let Some(Outcome::Reconcile(Ok(mut found))) = outcome else {
        panic!("{outcome:?}");
    };
    found.sort();
    found
}

/// Answers the next command only.
fn step(bench: &mut Bench) -> String {
    let Some(Action::Send { id, command }) = bench.machine.poll_action() else {
        panic!("no command");
    };
    let reply = bench.returns.get(command.name()).cloned();
    let reply = Ok(reply.unwrap_or(json!({})));
    bench.machine.reply(id, reply, Instant::now());
    command.name().to_owned()
}

/// Begins a comparison, and returns its last query.
fn asked_for_threads(bench: &mut Bench) -> Action {
    bench.machine.reconcile(soon(), Instant::now());
    for list in ["qom-list", "query-named-block-nodes", "query-block-exports"] {
        assert_eq!(step(bench), list);
    }
    bench.machine.poll_action().expect("query-iothreads")
}

/// Answers the last query.
fn found_with(bench: &mut Bench, threads: Action) -> Vec<Difference> {
    let Action::Send { id, command } = threads else {
        panic!("{threads:?}");
    };
    let reply = bench.returns[command.name()].clone();
    bench.machine.reply(id, Ok(reply), Instant::now());
    finished(bench)
}

#[test]
fn holders_that_the_pool_places_elsewhere_are_reported_in_either_form() {
    let mut bench = Bench::with_disks(&["disk0", "disk1"]);
    bench.listed(&["disk0", "disk1"], &["disk0", "disk1"], &BOTH);
    let holder = |name: &str| json!({"type": "device", "name": name});
    bench.returns.insert(
        "query-iothreads",
        json!([
            {"id": BOTH[0], "thread-id": 1, "poll-max-ns": 0,
             "holders": [holder("/machine/peripheral/disk0/virtio-backend"), "stranger"]},
            {"id": BOTH[1], "thread-id": 2, "poll-max-ns": 0, "holders": ["disk1", holder("disk0")]},
        ]),
    );
    let unknown = |thread: &str, holder: &str| Difference::UnknownHolder {
        thread: thread.into(),
        holder: holder.into(),
    };
    let expected = [
        unknown(BOTH[0], "stranger"),
        unknown(BOTH[1], "disk0 device"),
    ];
    assert_eq!(found(&mut bench), expected);
}

#[test]
fn device_that_is_there_though_only_its_node_is_recorded() {
    let mut bench = Bench::with_disks(&["disk0", "disk1"]);
    for id in ["disk0", "disk1"] {
        let detach = bench.machine.detach(&name(id), soon(), Instant::now());
        assert_eq!(step(&mut bench), "device_del");
        bench.deleted(id);
        // The reply to blockdev-del is not awaited.
        bench.machine.poll_action().expect("blockdev-del");
        bench.machine.cancel(detach.id());
        assert_eq!(bench.machine.state_of(&name(id)), Some(DiskState::NodeOnly));
    }
    bench.listed(&["disk0"], &["disk0", "disk1"], &BOTH);
    assert_eq!(found(&mut bench), [Difference::DeviceThere(name("disk0"))]);
    let states = [Some(DiskState::Attached), Some(DiskState::NodeOnly)];
    assert_eq!(
        ["disk0", "disk1"].map(|id| bench.machine.state_of(&name(id))),
        states
    );
}

#[test]
fn controller_stays_recorded_while_disks_are_recorded_behind_it() {
    let mut bench = Bench::with_disks(&[]);
    let controller = ScsiController::new(name("scsi0"));
    let (by, now) = (soon(), Instant::now());
    bench
        .machine
        .attach_controller(&controller, &Placement::First, by, now);
    assert!(bench.outcome().is_some());
    // Compared after its controller.
    let disk = DiskSpec::new(name("z"), "/image");
    bench.machine.attach_on(&controller.id, &disk, by, now);
    assert!(matches!(bench.outcome(), Some(Outcome::Attach(Ok(_)))));
    bench.listed(&[], &[], &BOTH);
    let expected = [
        Difference::DeviceGone(name("scsi0")),
        Difference::NothingLeft(name("z")),
    ];
    assert_eq!(found(&mut bench), expected);
    assert_eq!(
        bench
            .machine
            .disks()
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>(),
        [name("scsi0")]
    );
    assert_eq!(found(&mut bench), [Difference::NothingLeft(name("scsi0"))]);
    assert_eq!(bench.machine.disks().count(), 0);
}

#[test]
fn exports_that_ended_and_nodes_that_are_gone() {
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    // Older ones do not export on a thread.
    let machine = crate::Hotplug::new(pool, options(), QemuVersion::MAPS_SCSI_QUEUES);
    let mut bench = Bench::new(machine);
    let commands = ["x-blockdev-set-iothread", "block-export-add"];
    let commands = commands.map(|name| json!({"name": name, "meta-type": "command"}));
    bench.returns.insert("query-qmp-schema", json!(commands));
    let (by, now) = (soon(), Instant::now());
    for (id, is_exported) in [
        ("bare", false),
        ("ended", true),
        ("gone", false),
        ("served", true),
    ] {
        let disk = DiskSpec::new(name(id), "/image");
        match is_exported {
            true => bench.machine.export(&disk, &Placement::First, by, now),
            false => bench.machine.open_node(&disk, &Placement::First, by, now),
        };
        let outcome = bench.outcome();
        assert!(
            matches!(outcome, Some(Outcome::Attach(Ok(_)))),
            "{id}: {outcome:?}"
        );
    }
    bench.listed(&[], &["bare", "ended", "served"], &BOTH[..1]);
    let export =
        |id: &str| json!({"id": id, "node-name": id, "type": "nbd", "shutting-down": false});
    bench
        .returns
        .insert("query-block-exports", json!([export("served")]));
    let expected = [
        Difference::ExportGone(name("ended")),
        Difference::NodeGone(name("gone")),
    ];
    assert_eq!(found(&mut bench), expected);
    // It is corrected, and not found again.
    assert_eq!(found(&mut bench), []);
}

/// The lists are older than what ended before they were compared.
#[test]
fn what_ends_during_the_comparison_is_no_difference() {
    let mut bench = Bench::with_disks(&["disk0"]);
    bench.listed(&["disk0"], &["disk0"], &BOTH);
    let threads = asked_for_threads(&mut bench);
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert_eq!(step(&mut bench), "device_del");
    bench.deleted("disk0");
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Ok(())))));
    let thread = IoThreadId::indep(1);
    bench.machine.remove_thread(&thread, soon(), Instant::now());
    assert!(matches!(
        bench.outcome(),
        Some(Outcome::RemoveThread(Ok(())))
    ));
    assert_eq!(found_with(&mut bench, threads), []);
}

/// The lists are older than what was made before they were compared.
#[test]
fn a_node_that_is_made_during_the_comparison_is_no_difference() {
    let mut bench = Bench::with_disks(&[]);
    bench.listed(&[], &[], &BOTH);
    let threads = asked_for_threads(&mut bench);
    bench.with_node("node0");
    assert_eq!(found_with(&mut bench, threads), []);
}

#[test]
fn stray_threads_that_are_gone() {
    let mut bench = Bench::with_disks(&[]);
    let polling = Polling::default();
    let mut add = || {
        bench.machine.add_thread(polling, soon(), Instant::now());
        let Some(Action::Send { id, .. }) = bench.machine.poll_action() else {
            panic!("no command");
        };
        let lost = QmpError::Closed {
            awaited: "a reply".into(),
            why: "a test".into(),
        };
        bench.machine.reply(id, Err(lost), Instant::now());
        assert!(matches!(bench.outcome(), Some(Outcome::AddThread(Err(_)))));
    };
    for _ in 0..3 {
        add();
    }
    let strays: Vec<String> = bench
        .machine
        .stray_threads()
        .map(ToString::to_string)
        .collect();
    let [there, gone, busy] = &strays[..] else {
        panic!("{strays:?}");
    };
    let busy_id = IoThreadId::new(busy).unwrap();
    bench
        .machine
        .remove_thread(&busy_id, soon(), Instant::now());
    bench.machine.poll_action().expect("object-del");
    bench.listed(&[], &[], &[BOTH[0], BOTH[1], there]);
    assert_eq!(
        found(&mut bench),
        [Difference::StrayThreadGone(gone.clone())]
    );
    let left: Vec<String> = bench
        .machine
        .stray_threads()
        .map(ToString::to_string)
        .collect();
    assert_eq!(left, [there.clone(), busy.clone()]);
}

/// A device whose events may have been missed is looked up once, by the comparison.
#[test]
fn comparison_stands_for_the_list_of_devices() {
    let mut bench = Bench::with_disks(&["disk0"]);
    bench.machine.connection_lost("it broke", Instant::now());
    bench.machine.connection_resumed();
    bench.listed(&["disk0"], &["disk0"], &BOTH);
    assert_eq!(found(&mut bench), []);
    bench.sent.clear();
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert!(bench.outcome().is_none());
    assert_eq!(bench.sent, ["device_del"]);
}

#[test]
fn differences_name_what_they_are_about() {
    let all = [
        Difference::DeviceGone(name("a")),
        Difference::NothingLeft(name("b")),
        Difference::DeviceThere(name("c")),
        Difference::UnknownDevice("d".into()),
        Difference::UnknownNode("e".into()),
        Difference::ExportGone(name("f")),
        Difference::NodeGone(name("g")),
        Difference::ThreadGone("h".into()),
        Difference::UnknownThread("i".into()),
        Difference::StrayThreadGone("j".into()),
        Difference::UnknownHolder {
            thread: "k".into(),
            holder: "l".into(),
        },
    ];
    let texts = all.map(|one| one.to_string()).join("\n");
    insta::assert_snapshot!(texts);
}
