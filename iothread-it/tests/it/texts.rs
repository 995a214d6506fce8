//! QEMU's own words for what it refuses, and that we say no before QEMU does, in the same words.

use anyhow::{Context, Result, ensure};
use iothread_pool::{DeviceId, IoThreadId, Placement, Pool, SlotTable, VqMapping};
use kata_test::kata_test;
use serde_json::{Value, json};

use crate::bare::{Bare, refusal};
use crate::fixture::soon;
use crate::raw;

const QUEUES: u16 = 2;

/// QEMU with two threads, two nodes, and places to plug in.
fn start() -> Result<Bare> {
    let qemu = Bare::start(&[
        "-machine",
        "q35",
        "-object",
        "iothread,id=t0",
        "-object",
        "iothread,id=t1",
        "-device",
        "pcie-root-port,id=rp0,chassis=1",
        "-device",
        "pcie-root-port,id=rp1,chassis=2",
        "-device",
        "pcie-root-port,id=fixed,chassis=3,hotplug=off",
        "-device",
        "lsi53c895a,id=lsi",
    ])?;
    for node in ["n0", "n1"] {
        let node = json!({"driver": "null-co", "node-name": node, "read-zeroes": true});
        qemu.qmp.execute(&raw::BlockdevAdd(node), soon())?;
    }
    Ok(qemu)
}

fn disk(more: &Value) -> raw::DeviceAdd {
    let mut disk = json!({"driver": "virtio-blk-pci", "id": "d0", "drive": "n0", "bus": "rp0"});
    if let (Some(disk), Some(more)) = (disk.as_object_mut(), more.as_object()) {
        disk.extend(more.clone());
    }
    raw::DeviceAdd(disk)
}

/// Of more than 1024, QEMU says nothing any more: `regressions::threads`.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn error_texts_of_num_queues() -> Result<()> {
    let mut pool = Pool::new(vec![id("t0")?], SlotTable::root_ports(1))?;
    for bad in [0, 1025, u16::MAX] {
        let ours = pool.lease(&DeviceId::new("d0")?, bad, &Placement::First);
        let ours = ours.err().context("we took it")?.to_string();
        let words = format!("num-queues is {bad}; it must be between 1 and 1024");
        ensure!(ours == words, "we say {ours}");
    }
    for bad in [0, 1023] {
        let ours = pool.lease_controller(&DeviceId::new("d0")?, bad, &Placement::First);
        let ours = ours.err().context("we took it")?.to_string();
        ensure!(ours.ends_with("and 1022"), "we say {ours}");
    }
    let qemu = start()?;
    let none = disk(&json!({"num-queues": 0}));
    let message = refusal(qemu.qmp.execute(&none, soon()))?;
    ensure!(
        message == "num-queues property must be larger than 0",
        "QEMU says {message}"
    );
    for bad in [0, 1023] {
        let controller = json!({"driver": "virtio-scsi-pci", "id": "s0", "bus": "rp0",
                                "num_queues": bad});
        let message = refusal(qemu.qmp.execute(&raw::DeviceAdd(controller), soon()))?;
        ensure!(
            message.starts_with("Invalid number of queues"),
            "QEMU says {message}"
        );
    }
    for (driver, key, most) in [
        ("virtio-scsi-pci", "num_queues", 1022),
        ("virtio-blk-pci", "num-queues", 1024),
    ] {
        let mut device = json!({"driver": driver, "id": driver, "bus": "rp0", key: most});
        if driver == "virtio-blk-pci" {
            device["drive"] = "n0".into();
            device["bus"] = "rp1".into();
        }
        qemu.qmp.execute(&raw::DeviceAdd(device), soon())?;
    }
    qemu.quit()
}

/// What both of us say of a mapping, and the mapping.
type BadMapping = (&'static str, Vec<(&'static str, Vec<u16>)>);

fn bad_mappings() -> Vec<BadMapping> {
    vec![
        (
            "duplicate IOThread name \"t0\" in iothread-vq-mapping",
            vec![("t0", vec![0]), ("t0", vec![1])],
        ),
        (
            "vq index 2 for IOThread \"t0\" must be less than num_queues 2 in iothread-vq-mapping",
            vec![("t0", vec![0, 2]), ("t1", vec![1])],
        ),
        (
            "cannot assign vq 1 to IOThread \"t1\" because it is already assigned",
            vec![("t0", vec![0, 1]), ("t1", vec![1])],
        ),
        (
            "missing vq 1 IOThread assignment in iothread-vq-mapping",
            vec![("t0", vec![0])],
        ),
    ]
}

fn id(name: &str) -> Result<IoThreadId> {
    Ok(IoThreadId::new(name)?)
}

#[kata_test(when = crate::fixture::maps_queues)]
fn invalid_mapping_is_refused_with_the_message_of_qemu() -> Result<()> {
    let qemu = start()?;
    for (words, mapping) in bad_mappings() {
        let ours: Result<Vec<_>> = mapping
            .iter()
            .map(|(thread, queues)| Ok((id(thread)?, queues.clone())))
            .collect();
        let ours = VqMapping::explicit(ours?).and_then(|mapping| mapping.check(QUEUES));
        let ours = ours.err().context("we took it")?.to_string();
        ensure!(ours == words, "we say {ours}");
        let theirs: Vec<_> = mapping
            .iter()
            .map(|(thread, queues)| json!({"iothread": thread, "vqs": queues}))
            .collect();
        let disk = disk(&json!({"num-queues": QUEUES, "iothread-vq-mapping": theirs}));
        let theirs = refusal(qemu.qmp.execute(&disk, soon()))?;
        ensure!(theirs == words, "QEMU says {theirs}");
    }
    qemu.quit()
}

/// What QEMU refuses here cannot be written with our types, but for the thread's name.
#[kata_test(when = crate::fixture::maps_queues)]
fn error_texts_of_unrepresentable_mappings() -> Result<()> {
    let mut pool = Pool::new(vec![id("t0")?], SlotTable::root_ports(1))?;
    let unknown = Placement::Mapped(VqMapping::round_robin(vec![id("nope")?])?);
    let ours = pool.lease(&DeviceId::new("d0")?, QUEUES, &unknown);
    let ours = ours.err().context("we took it")?.to_string();
    ensure!(ours.contains("no IOThread `nope`"), "we say {ours}");
    ensure!(
        VqMapping::round_robin(Vec::new()).is_err(),
        "an empty one was taken"
    );
    let either =
        "either all items in iothread-vq-mapping must have vqs or none of them must have it";
    let qemu = start()?;
    let cases = [
        (
            "IOThread \"nope\" object does not exist",
            json!({"iothread-vq-mapping": [{"iothread": "nope"}]}),
        ),
        (
            either,
            json!({"iothread-vq-mapping": [{"iothread": "t0", "vqs": [0]}, {"iothread": "t1"}]}),
        ),
        // To QEMU an empty list is none.
        (
            either,
            json!({"iothread-vq-mapping": [{"iothread": "t0", "vqs": [0]},
                                           {"iothread": "t1", "vqs": []}]}),
        ),
        (
            "iothread and iothread-vq-mapping properties cannot be set at the same time",
            json!({"iothread": "t0", "iothread-vq-mapping": [{"iothread": "t0"}]}),
        ),
    ];
    for (words, more) in cases {
        let message = refusal(qemu.qmp.execute(&disk(&more), soon()))?;
        ensure!(message == words, "QEMU says {message}");
    }
    qemu.quit()
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn error_texts_of_threads() -> Result<()> {
    let qemu = start()?;
    let cases = [
        (
            "ioeventfd is required for iothread",
            json!({"iothread": "t0", "ioeventfd": false}),
        ),
        ("Device 'nope' not found", json!({"iothread": "nope"})),
    ];
    for (words, more) in cases {
        let message = refusal(qemu.qmp.execute(&disk(&more), soon()))?;
        ensure!(message == words, "QEMU says {message}");
    }
    let plugged = disk(&json!({"iothread": "t0"}));
    qemu.qmp.execute(&plugged, soon())?;
    let other = json!({"path": "/machine/peripheral/d0/virtio-backend", "property": "iothread",
                       "value": "/objects/t1"});
    let message = refusal(qemu.qmp.execute(&raw::QomSet(other), soon()))?;
    ensure!(
        message.starts_with("Attempt to set link property 'iothread' on device '")
            && message.ends_with("(type 'virtio-blk-device') after it was realized"),
        "QEMU says {message}"
    );
    let message = refusal(
        qemu.qmp
            .execute(&raw::ObjectDel(json!({"id": "nope"})), soon()),
    )?;
    ensure!(message == "object 'nope' not found", "QEMU says {message}");
    let twice = json!({"qom-type": "iothread", "id": "t0"});
    let message = refusal(qemu.qmp.execute(&raw::ObjectAdd(twice), soon()))?;
    let words = "attempt to add duplicate property 't0' to object (type 'container')";
    ensure!(message == words, "QEMU says {message}");
    qemu.quit()
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn error_texts_of_nodes_and_their_threads() -> Result<()> {
    let qemu = start()?;
    let plugged = disk(&json!({"iothread": "t0"}));
    qemu.qmp.execute(&plugged, soon())?;
    let cases = [
        (
            "Failed to find node with node-name='nope'",
            json!({"node-name": "nope", "iothread": "t0"}),
        ),
        (
            "Cannot find iothread nope",
            json!({"node-name": "n1", "iothread": "nope"}),
        ),
        (
            "Node n0 is associated with a BlockBackend and could be in use \
             (use force=true to override this check)",
            json!({"node-name": "n0", "iothread": "t1"}),
        ),
        (
            "Cannot change iothread of active block backend",
            json!({"node-name": "n0", "iothread": "t1", "force": true}),
        ),
    ];
    for (words, arguments) in cases {
        let message = refusal(qemu.qmp.execute(&raw::SetIothread(arguments), soon()))?;
        ensure!(message == words, "QEMU says {message}");
    }
    let remove = raw::BlockdevDel(json!({"node-name": "n0"}));
    let message = refusal(qemu.qmp.execute(&remove, soon()))?;
    ensure!(message == "Node n0 is in use", "QEMU says {message}");
    let below = json!({"driver": "null-co", "node-name": "below", "read-zeroes": true});
    let above = json!({"driver": "raw", "node-name": "above", "file": "below"});
    for node in [below, above] {
        qemu.qmp.execute(&raw::BlockdevAdd(node), soon())?;
    }
    let remove = raw::BlockdevDel(json!({"node-name": "below"}));
    let message = refusal(qemu.qmp.execute(&remove, soon()))?;
    ensure!(
        message == "Block device below is in use",
        "QEMU says {message}"
    );
    let to_thread = json!({"node-name": "n1", "iothread": "t1"});
    qemu.qmp.execute(&raw::SetIothread(to_thread), soon())?;
    let scsi = json!({"driver": "scsi-hd", "id": "s0", "drive": "n1", "bus": "lsi.0"});
    let message = refusal(qemu.qmp.execute(&raw::DeviceAdd(scsi), soon()))?;
    ensure!(
        message == "HBA does not support iothreads",
        "QEMU says {message}"
    );
    qemu.quit()
}

/// A bridge that was hot-plugged itself, without a hotplug controller of its own.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn error_texts_of_a_bus_without_acpi_hotplug() -> Result<()> {
    let qemu = Bare::start(&["-machine", "pc", "-blockdev", "null-co,node-name=n0"])?;
    let bridge = json!({"driver": "pci-bridge", "id": "br1", "chassis_nr": 1, "shpc": false});
    qemu.qmp.execute(&raw::DeviceAdd(bridge), soon())?;
    let disk = json!({"driver": "virtio-blk-pci", "id": "d0", "drive": "n0", "bus": "br1"});
    let message = refusal(qemu.qmp.execute(&raw::DeviceAdd(disk), soon()))?;
    let words = [
        "Unsupported bus. Bus doesn't have property 'acpi-pcihp-bsel' set",
        "Bus 'br1' does not support hotplugging",
    ];
    ensure!(words.contains(&message.as_str()), "QEMU says {message}");
    qemu.quit()
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn error_texts_of_slots_and_ids() -> Result<()> {
    let qemu = start()?;
    let cases = [
        (
            "Bus 'pcie.0' does not support hotplugging",
            json!({"bus": "pcie.0"}),
        ),
        (
            "Bus 'fixed' does not support hotplugging",
            json!({"bus": "fixed"}),
        ),
        // Hexadecimal, so that this is slot 32.
        (
            "Property 'virtio-blk-pci.addr' doesn't take value '20'",
            json!({"addr": "20"}),
        ),
        ("Bus 'nowhere' not found", json!({"bus": "nowhere"})),
    ];
    for (words, more) in cases {
        let message = refusal(qemu.qmp.execute(&disk(&more), soon()))?;
        ensure!(message == words, "QEMU says {message}");
    }
    let message = refusal(
        qemu.qmp
            .execute(&raw::DeviceDel(json!({"id": "nope"})), soon()),
    )?;
    ensure!(message == "Device 'nope' not found", "QEMU says {message}");
    for bad in ["0a", "a b", ""] {
        ensure!(IoThreadId::new(bad).is_err() && DeviceId::new(bad).is_err());
        let thread = json!({"qom-type": "iothread", "id": bad});
        let message = refusal(qemu.qmp.execute(&raw::ObjectAdd(thread), soon()))?;
        ensure!(
            message == "Parameter 'id' expects an identifier",
            "QEMU says {message}"
        );
    }
    // A disk's id is also its node's name.
    let long = "a".repeat(32);
    let node = json!({"driver": "null-co", "node-name": long});
    let message = refusal(qemu.qmp.execute(&raw::BlockdevAdd(node), soon()))?;
    ensure!(message == "Node name too long", "QEMU says {message}");
    qemu.qmp.execute(&disk(&json!({})), soon())?;
    let same = json!({"drive": "n1", "bus": "rp1"});
    let message = refusal(qemu.qmp.execute(&disk(&same), soon()))?;
    ensure!(message == "Duplicate device ID 'd0'", "QEMU says {message}");
    qemu.quit()
}
