//! **Scope**: operations side by side, and a state that is saved, compared and written as arguments.

use std::time::Instant;

use qmp_client::command::DeviceOptions;
use serde_json::json;

use super::*;
use crate::{Action, Answer, Difference, Outcome, Saved};

/// A machine whose commands all succeed, and whose guest has every disk at once.
pub(super) struct Bench {
    pub(super) machine: crate::Hotplug,
    /// What QEMU returns for a query.
    pub(super) returns: BTreeMap<&'static str, serde_json::Value>,
    pub(super) sent: Vec<String>,
}

impl Bench {
    pub(super) fn new(machine: crate::Hotplug) -> Self {
        Self {
            machine,
            returns: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn with_disks(disks: &[&str]) -> Self {
        let threads = vec![IoThreadId::indep(0), IoThreadId::indep(1)];
        let pool = Pool::new(threads, SlotTable::root_ports(4)).unwrap();
        let mut bench = Self::new(crate::Hotplug::new(pool, options(), QemuVersion::OLDEST));
        for id in disks {
            let disk = DiskSpec::new(name(id), "/image");
            let place = Placement::RoundRobin;
            bench.machine.attach(&disk, &place, soon(), Instant::now());
            assert!(matches!(bench.outcome(), Some(Outcome::Attach(Ok(_)))));
        }
        bench
    }

    /// Opens a node, by a QEMU that has all commands for nodes.
    pub(super) fn with_node(&mut self, id: &str) {
        let commands = ["x-blockdev-set-iothread", "block-export-add"];
        let schema = commands.map(|name| json!({"name": name, "meta-type": "command"}));
        self.returns.insert("query-qmp-schema", json!(schema));
        let disk = DiskSpec::new(name(id), "/image");
        let (by, now) = (soon(), Instant::now());
        self.machine.open_node(&disk, &Placement::First, by, now);
        let opened = self.outcome();
        assert!(matches!(opened, Some(Outcome::Attach(Ok(_)))), "{opened:?}");
    }

    /// Does all there is to do.
    pub(super) fn outcome(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Send { id, command } => {
                    self.sent.push(command.name().to_owned());
                    let reply = self.returns.get(command.name()).cloned();
                    self.machine.reply(id, Ok(reply.unwrap_or(json!({}))), now);
                }
                Action::AskGuest { id, .. } => self.machine.answer(id, Answer::Yes, now),
            }
        }
        self.machine.poll_outcome().map(|(_, outcome)| outcome)
    }

    pub(super) fn deleted(&mut self, id: &str) {
        self.event("DEVICE_DELETED", id);
    }

    pub(super) fn event(&mut self, name: &str, id: &str) {
        let event = qmp_client::Event {
            name: name.into(),
            data: json!({"device": id}),
            timestamp_us: None,
            received_us: None,
        };
        self.machine.event(&event, Instant::now());
    }

    pub(super) fn listed(&mut self, devices: &[&str], nodes: &[&str], threads: &[&str]) {
        let list =
            |key: &str, names: &[&str]| names.iter().map(|name| json!({key: name})).collect();
        self.returns.insert("qom-list", list("name", devices));
        self.returns
            .insert("query-named-block-nodes", list("node-name", nodes));
        self.returns.insert("query-block-exports", json!([]));
        let thread = |id: &&str| json!({"id": id, "thread-id": 1, "poll-max-ns": 0});
        self.returns
            .insert("query-iothreads", threads.iter().map(thread).collect());
    }
}

pub(super) fn name(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

pub(super) const BOTH: [&str; 2] = ["indep_iothread_0", "indep_iothread_1"];

#[test]
fn detach_that_never_ends_delays_no_other_and_can_be_cancelled() {
    let mut bench = Bench::with_disks(&["disk0", "disk1"]);
    let stuck = bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert_eq!(format!("{stuck:?}"), format!("{:?}", stuck.id()));
    assert!(bench.outcome().is_none());
    bench.machine.detach(&name("disk1"), soon(), Instant::now());
    assert!(bench.outcome().is_none());
    bench.deleted("disk1");
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Ok(())))));
    // One operation at a time works on a device.
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    let busy = bench.outcome();
    assert!(
        matches!(busy, Some(Outcome::Detach(Err(DetachError::Busy { .. })))),
        "{busy:?}"
    );
    bench.machine.cancel(stuck.id());
    assert_eq!(
        bench.machine.state_of(&name("disk0")),
        Some(DiskState::RemovalPending)
    );
    assert_eq!(bench.machine.pool().free_slots(), 3);
    bench.deleted("disk0");
    bench.listed(&[], &["disk0"], &BOTH);
    bench.machine.settle(soon(), Instant::now());
    let settled = bench.outcome();
    let Some(Outcome::Settle(Ok(progress))) = settled else {
        panic!("{settled:?}");
    };
    assert_eq!(progress.removed, [name("disk0")]);
    assert_eq!(bench.machine.pool().free_slots(), 4);
}

#[test]
fn operations_without_a_connection_fail_and_go_on_once_it_is_resumed() {
    let mut bench = Bench::with_disks(&["disk0"]);
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert!(bench.outcome().is_none());
    bench.machine.connection_lost("it broke", Instant::now());
    let lost = bench.outcome();
    assert!(
        matches!(lost, Some(Outcome::Detach(Err(DetachError::Failed { .. })))),
        "{lost:?}"
    );
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Err(_)))));
    bench.machine.connection_resumed();
    bench.listed(&[], &["disk0"], &BOTH);
    bench.sent.clear();
    bench.machine.detach(&name("disk0"), soon(), Instant::now());
    assert!(matches!(bench.outcome(), Some(Outcome::Detach(Ok(())))));
    // The guest had released it meanwhile, so it is not asked again.
    assert_eq!(bench.sent, ["qom-list", "blockdev-del"]);
}

#[test]
fn differences_are_reported_and_corrected_after_a_restart() {
    let bench = Bench::with_disks(&["disk0", "disk1", "disk2"]);
    let saved: Saved = bench.machine.save();
    let restored = crate::Hotplug::restore(saved, options(), QemuVersion::OLDEST);
    let mut bench = Bench::new(restored);
    bench.listed(
        &["type", "disk0", "net0"],
        &["disk0", "disk1", "#block1", "other"],
        &[BOTH[0], "foreign"],
    );
    bench.machine.reconcile(soon(), Instant::now());
    let reconciled = bench.outcome();
    let Some(Outcome::Reconcile(Ok(mut found))) = reconciled else {
        panic!("{reconciled:?}");
    };
    found.sort();
    let expected = [
        Difference::DeviceGone(name("disk1")),
        Difference::NothingLeft(name("disk2")),
        Difference::UnknownDevice("net0".into()),
        Difference::UnknownNode("other".into()),
        Difference::ThreadGone(BOTH[1].into()),
        Difference::UnknownThread("foreign".into()),
    ];
    assert_eq!(found, expected);
    assert_eq!(bench.machine.pool().free_slots(), 2);
    bench.machine.settle(soon(), Instant::now());
    assert!(matches!(bench.outcome(), Some(Outcome::Settle(Ok(_)))));
    assert_eq!(bench.machine.pool().free_slots(), 3);
}

#[test]
fn configured_size_of_queues_is_passed_unless_a_device_states_its_own() {
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(3)).unwrap();
    let options = BlockOptions {
        queue_size: Some(64),
        ..options()
    };
    let machine = crate::Hotplug::new(pool, options, QemuVersion::OLDEST);
    let mut bench = Bench::new(machine);
    let own = json!({"queue-size": 256}).as_object().unwrap().clone();
    let own = DiskSpec {
        device_options: DeviceOptions::new(own).unwrap(),
        ..DiskSpec::new(name("disk1"), "/image")
    };
    let (by, now, place) = (soon(), Instant::now(), Placement::RoundRobin);
    let disk = DiskSpec::new(name("disk0"), "/image");
    bench.machine.attach(&disk, &place, by, now);
    bench.machine.attach(&own, &place, by, now);
    let controller = ScsiController::new(name("scsi0"));
    bench
        .machine
        .attach_controller(&controller, &place, by, now);
    assert!(bench.outcome().is_some());
    let arguments = bench.machine.arguments();
    let devices = arguments.iter().zip(arguments.iter().skip(1));
    let devices = devices.filter(|(flag, _)| *flag == "-device");
    let devices: Vec<serde_json::Value> = devices
        .map(|(_, device)| serde_json::from_str(device).unwrap())
        .collect();
    assert_eq!(devices[0]["queue-size"], 64);
    assert_eq!(devices[1]["queue-size"], 256);
    assert_eq!(devices[2]["virtqueue_size"], 64);
}

#[test]
fn destination_of_a_migration_gets_the_same_threads_and_devices() {
    let bench = Bench::with_disks(&["disk0"]);
    let arguments = bench.machine.arguments();
    let flags: Vec<_> = arguments.iter().step_by(2).map(String::as_str).collect();
    assert_eq!(flags, ["-object", "-object", "-blockdev", "-device"]);
    let values = arguments.iter().skip(1).step_by(2);
    let values: Vec<serde_json::Value> = values.map(|v| serde_json::from_str(v).unwrap()).collect();
    assert_eq!(values[0], json!({"qom-type": "iothread", "id": BOTH[0]}));
    assert_eq!(values[2]["node-name"], "disk0");
    let device = json!({
        "driver": "virtio-blk-pci", "id": "disk0", "bus": "rp0", "addr": "0x0", "drive": "disk0",
        "serial": "disk0", "num-queues": 1, "iothread": BOTH[0],
    });
    assert_eq!(values[3], device);
}
