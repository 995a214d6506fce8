//! **Scope**: the saved state as text. What is restored is what was saved, and what somebody has edited
//! or cut off is refused with the reason, or is a state like any other.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::model::{Qemu, World};
use super::*;
use crate::{Action, Answer, Outcome, Saved};

/// States to edit. `random_sequences_lose_nothing` has more of them on their way through JSON.
const STATES: u64 = 60;
const EDITS: u64 = 40;

/// A machine that has a disk, a disk on a controller, and a node with an export.
fn busy() -> Value {
    let threads = [0, 1].map(IoThreadId::indep).to_vec();
    let mut qemu = Qemu::with_threads(threads.iter().map(ToString::to_string));
    let pool = Pool::new(threads, SlotTable::root_ports(3)).unwrap();
    let mut machine = crate::Hotplug::new(pool, options(), QemuVersion::MAPS_SCSI_QUEUES);
    let disk = |id| DiskSpec::new(name(id), "/image");
    let (by, now, place) = (soon(), Instant::now(), Placement::RoundRobin);
    machine.attach(&disk("disk0"), &place, by, now);
    machine.attach_controller(&ScsiController::new(name("scsi0")), &place, by, now);
    run(&mut machine, &mut qemu);
    machine.attach_on(&name("scsi0"), &disk("hd0"), by, now);
    machine.export(&disk("node0"), &Placement::MainLoop, by, now);
    for outcome in run(&mut machine, &mut qemu) {
        assert!(matches!(outcome, Outcome::Attach(Ok(_))), "{outcome:?}");
    }
    json!(machine.save())
}

fn name(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

/// Does all there is to do, with a guest that has every disk at once.
fn run(machine: &mut crate::Hotplug, qemu: &mut Qemu) -> Vec<Outcome> {
    let now = Instant::now();
    while let Some(action) = machine.poll_action() {
        match action {
            Action::Send { id, command } => {
                let (reply, events) = qemu.run(command.name(), command.arguments());
                for event in events {
                    machine.event(&event, now);
                }
                machine.reply(id, reply, now);
            }
            Action::AskGuest { id, .. } => machine.answer(id, Answer::Yes, now),
        }
    }
    let outcomes = std::iter::from_fn(|| machine.poll_outcome());
    outcomes.map(|(_, outcome)| outcome).collect()
}

fn error_of(state: &Value) -> String {
    let error = serde_json::from_value::<Saved>(state.clone());
    error.expect_err("it is refused").to_string()
}

#[test]
fn saved_state_is_plain_json() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&busy()).unwrap());
}

#[test]
fn contradictions_name_the_device() {
    let edits = [
        ("newer", "/schema", json!(2)),
        ("unknown member", "/extra", json!(1)),
        ("a device twice", "/devices/1", busy()["devices"][0].clone()),
        ("another slot", "/devices/0/1/device/bus", json!("rp2")),
        (
            "another thread",
            "/devices/0/1/device/iothread",
            json!("t9"),
        ),
        ("no thread", "/devices/0/1/device/iothread", Value::Null),
        ("no node behind a disk", "/devices/0/1/node", Value::Null),
        ("another node", "/devices/0/1/node/node-name", json!("d1")),
        ("another target", "/devices/1/1/device/scsi-id", json!(7)),
        ("no lease", "/devices/2/0", json!("disk9")),
        ("a node as a device", "/devices/0/0", json!("node0")),
        ("no export", "/nodes/0/1/export", Value::Null),
        (
            "a stray thread",
            "/stray-threads/0",
            json!("indep_iothread_0"),
        ),
    ];
    let state = busy();
    let mut texts = String::new();
    for (what, at, value) in edits {
        let mut edited = state.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        match edited.pointer_mut(parent).unwrap() {
            Value::Array(items) if items.is_empty() => items.push(value),
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        texts += &format!("{what}: {}\n", error_of(&edited));
    }
    let mut unnamed = state.clone();
    unnamed.as_object_mut().unwrap().remove("schema");
    texts += &format!("no schema: {}\n", error_of(&unnamed));
    let mut twice = state;
    let slot = twice["pool"]["leases"][0][1]["device"]["slot"].clone();
    let leases = twice["pool"]["leases"].as_array_mut().unwrap();
    let controller = leases.iter_mut().find(|lease| lease[0] == "scsi0").unwrap();
    controller[1]["controller"]["slot"] = slot;
    texts += &format!("a slot twice: {}\n", error_of(&twice));
    insta::assert_snapshot!(texts);
}

#[test]
fn every_truncated_file_is_an_error() {
    let text = busy().to_string();
    for length in 0..text.len() {
        let cut = serde_json::from_str::<Saved>(&text[..length]);
        assert!(cut.is_err(), "{length} bytes");
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }
}

/// Every value, by its JSON pointer.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut visit = |key: String, value: &Value| {
        let at = format!("{at}/{key}");
        pointers(value, &at, all);
        all.push(at);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(k, v)| visit(k.clone(), v)),
        Value::Array(items) => (0..).zip(items).for_each(|(n, v)| visit(n.to_string(), v)),
        _ => {}
    }
}

fn edit(state: &mut Value, random: &mut Random) {
    let mut all = Vec::new();
    pointers(state, "", &mut all);
    let at = all[random.below(all.len())].clone();
    let other = all[random.below(all.len())].clone();
    let value = match random.below(4) {
        0 => json!(null),
        1 => json!(random.below(4)),
        _ => state.pointer(&other).unwrap().clone(),
    };
    let (parent, key) = at.rsplit_once('/').unwrap();
    let parent = state.pointer_mut(parent).unwrap();
    let is_removal = random.below(3) == 0;
    match parent {
        Value::Object(members) if is_removal => drop(members.remove(key)),
        Value::Array(items) if is_removal => drop(items.remove(key.parse().unwrap())),
        Value::Array(items) if random.below(3) == 0 => items.push(value),
        parent => *parent.pointer_mut(&format!("/{key}")).unwrap() = value,
    }
}

/// What is accepted gives no slot twice, and a machine that empties itself against an empty QEMU.
fn goes_on(saved: Saved, text: &str) {
    let mut machine = crate::Hotplug::restore(saved, options(), QemuVersion::MAPS_SCSI_QUEUES);
    let ids: BTreeSet<DeviceId> = machine.disks().map(|(id, _)| id.clone()).collect();
    let mut slots = BTreeSet::new();
    for id in &ids {
        if let Some(lease) = machine.pool().lease_of(id) {
            assert!(slots.insert(lease.slot.to_string()), "{text}");
        }
    }
    let mut qemu = Qemu::with_threads(machine.pool().threads().iter().map(ToString::to_string));
    let by = soon();
    machine.reconcile(by, Instant::now());
    let found = run(&mut machine, &mut qemu);
    assert!(
        matches!(found[..], [Outcome::Reconcile(Ok(_))]),
        "{found:?}\n{text}"
    );
    machine.settle(by, Instant::now());
    run(&mut machine, &mut qemu);
    assert!(machine.disks().next().is_none(), "{text}");
}

#[test]
fn edited_states_are_refused_or_go_on() {
    let mut random = Random(1);
    let mut accepted = 0;
    for seed in 1..=STATES {
        let state: Value = serde_json::from_str(&World::new(seed).state_after(60)).unwrap();
        for _ in 0..EDITS {
            let mut edited = state.clone();
            edit(&mut edited, &mut random);
            let text = edited.to_string();
            if let Ok(saved) = serde_json::from_str(&text) {
                accepted += 1;
                goes_on(saved, &text);
            }
        }
    }
    assert!((1..STATES * EDITS).contains(&accepted), "{accepted}");
}
