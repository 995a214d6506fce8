//! Lost commands and lost replies, at each command of a move and of each operation on something other
//! than a virtio-blk disk. Afterwards the pool and `Hotplug` know all that QEMU has, no thread in use
//! is free, and everything can be detached.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::config::IoThreadProperties;
use guest_vm::qemu::Topology;
use iothread_hotplug::{DiskSpec, ScsiController};
use iothread_pool::{Allocation, DeviceId, IoThreadId, Placement};
use qmp_client::QemuVersion;
use qmp_client::wait::Deadline;
use serde_json::{Value, json};

use super::proxy::{Fault, Point};
use super::rig::Rig;
use crate::fixture::{cases, empty_disk, scratch, shape, soon};

cases!(q35 Q35
    a_moved_disk
    a_scsi_controller_and_its_disk
    a_balloon
    cold_plugged_devices
    a_block_node
    an_export
    a_thread
);

/// How long a disturbed operation has.
const SHORT: Duration = Duration::from_secs(2);

/// All that the cases create. Disks come before their controllers, since they are detached first.
const IDS: [&str; 16] = [
    "disk0", "hd0", "hd1", "hd2", "hd3", "hd4", "hd5", "hd6", "hd7", "scsi0", "scsi1", "scsi2",
    "scsi3", "balloon0", "node0", "export0",
];

/// Longer than the commands before the disturbed one take, with a guest that releases the disk.
const MOVE_SPAN: Duration = Duration::from_secs(10);

/// An operation, and the commands of it that are disturbed.
struct Operation {
    commands: &'static [&'static str],
    run: fn(&mut Rig, Deadline) -> Result<()>,
}

/// Strikes each command of each operation. Those before it are not disturbed.
fn strikes(rig: &mut Rig, operations: &[Operation]) -> Result<()> {
    for (place, operation) in operations.iter().enumerate() {
        for command in operation.commands {
            for point in [Point::Request(command), Point::Reply(command)] {
                for fault in [Fault::Drop, Fault::Close] {
                    let what = format!("{point:?}, {fault:?}");
                    for before in &operations[..place] {
                        (before.run)(rig, soon()).context(what.clone())?;
                    }
                    rig.proxy.arm(point, fault);
                    let outcome = (operation.run)(rig, Deadline::after(SHORT));
                    recovers(rig, outcome).context(what)?;
                }
            }
        }
    }
    Ok(())
}

/// Checks that a disturbed operation failed, and that what QEMU has is known.
fn fails_and_forgets_nothing(rig: &mut Rig, outcome: Result<()>) -> Result<()> {
    ensure!(rig.proxy.struck(), "nothing was disturbed: {outcome:?}");
    ensure!(
        outcome.is_err(),
        "the operation had no effect, but it reported success"
    );
    rig.reconnect()?;
    nothing_is_forgotten(rig)
}

/// Checks what is left of a disturbed operation, and detaches it.
fn recovers(rig: &mut Rig, outcome: Result<()>) -> Result<()> {
    fails_and_forgets_nothing(rig, outcome)?;
    for id in IDS {
        let (id, by) = (DeviceId::new(id)?, soon());
        let (hotplug, qmp, _) = rig.parts();
        match hotplug.pool().allocation_of(&id) {
            Some(Allocation::Thread(_)) => hotplug.close_node(qmp, &id, by)?,
            Some(_) => hotplug.detach(qmp, &id, by)?,
            None => {}
        }
    }
    let (hotplug, qmp, _) = rig.parts();
    let stray: Vec<_> = hotplug.stray_threads().cloned().collect();
    for thread in stray {
        hotplug.remove_thread(qmp, &thread)?;
    }
    nothing_is_left(rig)
}

fn nothing_is_left(rig: &Rig) -> Result<()> {
    let left = has(rig)?;
    ensure!(left.is_empty(), "QEMU has {left:?}");
    let pool = rig.bench.vm.pool();
    for thread in pool.threads() {
        ensure!(pool.served_by(thread).count() == 0, "{}", pool.state());
    }
    ensure!(pool.free_slots() == rig.free_slots, "{}", pool.state());
    let (threads, known) = (threads(rig)?, pool.threads().len());
    ensure!(threads.len() == known, "QEMU has {threads:?}");
    Ok(())
}

fn nothing_is_forgotten(rig: &mut Rig) -> Result<()> {
    for id in has(rig)? {
        let id = DeviceId::new(id)?;
        let pool = rig.bench.vm.pool();
        ensure!(pool.allocation_of(&id).is_some(), "{id} is forgotten");
        let link = json!({"path": format!("/machine/peripheral/{id}"), "property": "iothread"});
        // Nodes, exports and SCSI disks have no such property.
        let Ok(Value::String(link)) = rig.proxy.ask("qom-get", &link) else {
            continue;
        };
        let thread = link.strip_prefix("/objects/").unwrap_or_default();
        let pool = rig.bench.vm.pool();
        let thread = pool.threads().iter().find(|known| known.as_str() == thread);
        let thread = thread.with_context(|| format!("{id} is served by {link}"))?;
        ensure!(pool.served_by(thread).any(|served| *served == id), "{id}");
    }
    let threads = threads(rig)?;
    let (hotplug, _, _) = rig.parts();
    for thread in threads {
        let mut known = hotplug
            .pool()
            .threads()
            .iter()
            .chain(hotplug.stray_threads());
        ensure!(known.any(|known| known.as_str() == thread), "{thread}");
    }
    Ok(())
}

/// Asks QEMU, past the client, what it has of ours.
fn has(rig: &Rig) -> Result<Vec<&'static str>> {
    let devices = json!({"path": "/machine/peripheral"});
    let (devices, nodes) = (rig.proxy.ask("qom-list", &devices)?, json!({"flat": true}));
    let nodes = rig.proxy.ask("query-named-block-nodes", &nodes)?;
    let exports = rig.proxy.ask("query-block-exports", &json!({}))?;
    let lists = [(devices, "name"), (nodes, "node-name"), (exports, "id")];
    let has = |id: &&str| {
        lists.iter().any(|(list, key)| {
            let mut items = list.as_array().into_iter().flatten();
            items.any(|item| item[key] == **id)
        })
    };
    Ok(IDS.into_iter().filter(has).collect())
}

fn threads(rig: &Rig) -> Result<Vec<String>> {
    let threads = rig.proxy.ask("query-iothreads", &json!({}))?;
    let ids = threads.as_array().into_iter().flatten();
    Ok(ids
        .filter_map(|thread| thread["id"].as_str().map(str::to_owned))
        .collect())
}

/// Returns a disk, whose image there may be already.
fn disk(rig: &Rig, name: &str) -> Result<DiskSpec> {
    rig.bench.disk(name)
}

fn detach(rig: &mut Rig, id: &str, by: Deadline) -> Result<()> {
    let (hotplug, qmp, _) = rig.parts();
    Ok(hotplug.detach(qmp, &DeviceId::new(id)?, by)?)
}

fn close(rig: &mut Rig, id: &str, by: Deadline) -> Result<()> {
    let (hotplug, qmp, _) = rig.parts();
    Ok(hotplug.close_node(qmp, &DeviceId::new(id)?, by)?)
}

fn attach_controller(rig: &mut Rig, by: Deadline) -> Result<()> {
    let controller = ScsiController::new(DeviceId::new("scsi0")?);
    let (hotplug, qmp, _) = rig.parts();
    hotplug.attach_controller(qmp, &controller, &Placement::Dedicated, by)?;
    Ok(())
}

fn attach_on(rig: &mut Rig, by: Deadline) -> Result<()> {
    let disk = disk(rig, "hd0")?;
    let (hotplug, qmp, agent) = rig.parts();
    hotplug.attach_on(qmp, agent, &DeviceId::new("scsi0")?, &disk, by)?;
    Ok(())
}

fn a_scsi_controller_and_its_disk(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let operations = [
            Operation {
                commands: &["device_add"],
                run: attach_controller,
            },
            Operation {
                commands: &["blockdev-add", "device_add"],
                run: attach_on,
            },
            Operation {
                commands: &["device_del", "blockdev-del"],
                run: |rig, by| detach(rig, "hd0", by),
            },
            Operation {
                commands: &["device_del"],
                run: |rig, by| detach(rig, "scsi0", by),
            },
        ];
        strikes(rig, &operations)
    })
}

fn a_balloon(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let operations = [
            Operation {
                commands: &["device_add"],
                run: |rig, by| {
                    let id = DeviceId::new("balloon0")?;
                    let (hotplug, qmp, _) = rig.parts();
                    hotplug.attach_balloon(qmp, &id, &Placement::Dedicated, by)?;
                    Ok(())
                },
            },
            Operation {
                commands: &["device_del"],
                run: |rig, by| detach(rig, "balloon0", by),
            },
        ];
        strikes(rig, &operations)
    })
}

fn a_moved_disk(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let operations = [
            Operation {
                commands: &[],
                run: |rig, by| Ok(rig.attach(by)?),
            },
            Operation {
                commands: &["device_del", "blockdev-del", "blockdev-add", "device_add"],
                run: |rig, _| {
                    let disk = rig.disk.clone();
                    let place = Placement::Pinned(IoThreadId::indep(1));
                    let (hotplug, qmp, agent) = rig.parts();
                    let by = Deadline::after(MOVE_SPAN);
                    hotplug.move_disk(qmp, agent, &disk, &place, by)?;
                    Ok(())
                },
            },
        ];
        strikes(rig, &operations)
    })
}

/// A device on QEMU's command line is detached once only, so each fault has a device of its own.
fn cold_plugged_devices(topology: Topology) -> Result<()> {
    let images = scratch()?;
    let mut spec = shape(topology)?;
    for n in 0..4 {
        let controller = ScsiController::new(DeviceId::new(format!("scsi{n}"))?);
        spec.cold_plug_controller(&controller, &Placement::First)?;
        for n in [2 * n, 2 * n + 1] {
            spec.cold_plug_on(&controller.id, &empty_disk(&images, &format!("hd{n}"))?)?;
        }
    }
    Rig::run_shape(&spec, |rig| {
        nothing_is_forgotten(rig)?;
        // The slots that are free without the controllers.
        rig.free_slots += 4;
        let mut strike = |kind: &str, commands: &[&'static str]| -> Result<()> {
            let points = commands
                .iter()
                .flat_map(|&command| [Point::Request(command), Point::Reply(command)]);
            let faults = points.flat_map(|point| [(point, Fault::Drop), (point, Fault::Close)]);
            for (n, (point, fault)) in faults.enumerate() {
                let (what, id) = (format!("{point:?}, {fault:?}"), format!("{kind}{n}"));
                rig.proxy.arm(point, fault);
                let outcome = detach(rig, &id, Deadline::after(SHORT));
                fails_and_forgets_nothing(rig, outcome).context(what.clone())?;
                detach(rig, &id, soon()).context(what)?;
            }
            Ok(())
        };
        strike("hd", &["device_del", "blockdev-del"])?;
        strike("scsi", &["device_del"])?;
        nothing_is_left(rig)
    })
}

fn open(rig: &mut Rig, by: Deadline) -> Result<()> {
    let disk = disk(rig, "node0")?;
    let (hotplug, qmp, _) = rig.parts();
    hotplug.open_node(qmp, &disk, &Placement::Dedicated, by)?;
    Ok(())
}

/// After a lost answer QEMU does not tell which of two threads a node has, so both are in use.
fn a_block_node(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let operations = [
            Operation {
                commands: &["blockdev-add", "x-blockdev-set-iothread"],
                run: open,
            },
            Operation {
                commands: &["x-blockdev-set-iothread"],
                run: |rig, by| {
                    let id = DeviceId::new("node0")?;
                    let [from, to] = [0, 1].map(IoThreadId::indep);
                    let place = Placement::Pinned(to.clone());
                    let (hotplug, qmp, _) = rig.parts();
                    let Err(error) = hotplug.move_node(qmp, &id, &place, by) else {
                        return Ok(());
                    };
                    for thread in [from, to] {
                        let mut served = hotplug.pool().served_by(&thread);
                        ensure!(served.any(|served| *served == id), "{thread} is idle");
                    }
                    Err(error.into())
                },
            },
            Operation {
                commands: &["blockdev-del"],
                run: |rig, by| close(rig, "node0", by),
            },
        ];
        strikes(rig, &operations)
    })
}

fn an_export(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let socket = rig.bench.path("nbd");
        let addr = json!({"type": "unix", "data": {"path": socket.to_str()}});
        rig.proxy.ask("nbd-server-start", &json!({"addr": addr}))?;
        let operations = [
            Operation {
                commands: &["blockdev-add", "block-export-add"],
                run: |rig, by| {
                    let version = Manifest::find()?.qemu.parsed_version();
                    let on_threads = version >= Some(QemuVersion::EXPORTS_ON_THREADS);
                    let place = match on_threads {
                        true => Placement::Dedicated,
                        false => Placement::MainLoop,
                    };
                    let disk = disk(rig, "export0")?;
                    let (hotplug, qmp, _) = rig.parts();
                    hotplug.export(qmp, &disk, &place, by)?;
                    Ok(())
                },
            },
            Operation {
                commands: &["block-export-del", "blockdev-del"],
                run: |rig, by| close(rig, "export0", by),
            },
        ];
        strikes(rig, &operations)
    })
}

/// Each has the time that QEMU has for a thread.
fn a_thread(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        for point in [Point::Request("object-add"), Point::Reply("object-add")] {
            rig.proxy.arm(point, Fault::Close);
            let (hotplug, qmp, _) = rig.parts();
            let added = hotplug.add_thread(qmp, IoThreadProperties::default());
            let stray = hotplug.stray_threads().count();
            ensure!(stray == 1, "{stray} threads are stray");
            recovers(rig, added.map(drop).map_err(Into::into)).context(format!("{point:?}"))?;
        }
        for point in [Point::Request("object-del"), Point::Reply("object-del")] {
            rig.proxy.arm(point, Fault::Close);
            let (hotplug, qmp, _) = rig.parts();
            let thread = hotplug.pool().threads().last().cloned();
            let retired = hotplug.remove_thread(qmp, &thread.context("no thread is left")?);
            recovers(rig, retired.map_err(Into::into)).context(format!("{point:?}"))?;
        }
        Ok(())
    })
}
