//! Whatever happens to a line between QEMU and us, and to QEMU while a line is on its way: the pool
//! knows what a disk still holds, nothing that QEMU still has is forgotten, and once the trouble is
//! over the disk comes off whole.
//!
//! Each fault is injected at every step of an attach and of a detach. QEMU is then queried past
//! the client that was disturbed.

mod operations;
mod proxy;
mod rig;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::{DetachError, DiskState, Step};
use nix::sys::signal::{Signal, kill};
use qmp_client::QmpError;
use serde_json::json;

use crate::fixture::{cases, soon};
use proxy::{Fault, Point};
use rig::Rig;

cases!(q35 Q35
    delayed_line_is_awaited
    late_reply_is_dropped
    dropped_line_leaks_nothing
    duplicated_line_is_ignored
    very_long_event_is_read
    ten_thousand_events_hide_no_reply
    unknown_event_is_ignored
    error_of_unknown_class_is_a_refusal
    disk_stays_attached_if_guest_rejects_unplug
    truncated_line_closes_the_channel_and_a_new_one_works
    closed_channel_is_reported_and_a_new_one_works
    stopped_qemu_continues_from_every_step
    qemu_killed_at_blockdev_add
    qemu_killed_at_device_add
    qemu_killed_at_device_del
    qemu_killed_at_device_deleted
    qemu_killed_at_blockdev_del
);

/// The steps that speak with QEMU, with the lines that each sends and gets.
const STEPS: [(Step, Point); 9] = [
    (Step::BlockdevAdd, Point::Request("blockdev-add")),
    (Step::BlockdevAdd, Point::Reply("blockdev-add")),
    (Step::DeviceAdd, Point::Request("device_add")),
    (Step::DeviceAdd, Point::Reply("device_add")),
    (Step::DeviceDel, Point::Request("device_del")),
    (Step::DeviceDel, Point::Reply("device_del")),
    (Step::DeviceDeleted, Point::Deleted),
    (Step::BlockdevDel, Point::Request("blockdev-del")),
    (Step::BlockdevDel, Point::Reply("blockdev-del")),
];

/// Exceeds the deadline of a disturbed attach or detach.
const LATE_DELAY: Duration = Duration::from_secs(4);

fn delayed_line_is_awaited(topology: Topology) -> Result<()> {
    changes_nothing(topology, &Fault::Delay(Duration::from_millis(300)))
}

fn duplicated_line_is_ignored(topology: Topology) -> Result<()> {
    changes_nothing(topology, &Fault::Double)
}

fn very_long_event_is_read(topology: Topology) -> Result<()> {
    let long = json!({"event": "LONG", "data": {"text": "x".repeat(1 << 20)}});
    changes_nothing(topology, &Fault::Before(format!("{long}\n").into()))
}

fn ten_thousand_events_hide_no_reply(topology: Topology) -> Result<()> {
    let noise = "{\"event\":\"NOISE\",\"data\":{\"device\":\"other\"}}\n".repeat(10_000);
    changes_nothing(topology, &Fault::Before(noise.into()))
}

fn unknown_event_is_ignored(topology: Topology) -> Result<()> {
    let unknown = [
        "{\"event\":\"NEVER_HEARD_OF\",\"data\":{\"device\":\"disk0\"},\"more\":[1]}",
        "{\"event\":\"DEVICE_DELETED\",\"data\":{\"path\":7}}",
        "{\"event\":\"DEVICE_DELETED\"}",
        "{\"neither\":\"event\",\"nor\":\"reply\"}",
        "no JSON at all",
        "",
    ];
    let mut lines = unknown.join("\n");
    lines.push('\n');
    changes_nothing(topology, &Fault::Before(lines.into()))
}

/// Faults after which an attach and a detach succeed all the same.
fn changes_nothing(topology: Topology, fault: &Fault) -> Result<()> {
    Rig::run(topology, |rig| {
        for (step, point) in STEPS {
            rig.proxy.arm(point, fault.clone());
            rig.comes_and_goes()
                .with_context(|| format!("{point:?}, at {step}"))?;
            ensure!(rig.proxy.struck(), "nothing was disturbed at {point:?}");
        }
        Ok(())
    })
}

fn dropped_line_leaks_nothing(topology: Topology) -> Result<()> {
    times_out(topology, &Fault::Drop)
}

/// A reply after the deadline is dropped and is not taken for the reply to the next call.
fn late_reply_is_dropped(topology: Topology) -> Result<()> {
    times_out(topology, &Fault::Delay(LATE_DELAY))
}

fn stopped_qemu_continues_from_every_step(topology: Topology) -> Result<()> {
    Rig::run(topology, |rig| {
        let qemu = rig.qemu();
        for (step, point) in STEPS {
            // QEMU sends this line before it stops, so that step succeeds.
            if !matches!(point, Point::Request(_)) {
                continue;
            }
            let stop = Fault::Signal(qemu, Signal::SIGSTOP);
            let outcome = rig.disturbed(point, stop);
            kill(qemu, Signal::SIGCONT)?;
            let failed = outcome.with_context(|| format!("{point:?}"))?;
            failed.at(step, |error| matches!(error, QmpError::TimedOut { .. }))?;
            rig.recovers().with_context(|| format!("{point:?}"))?;
        }
        Ok(())
    })
}

/// Faults after which a step has no answer in time, though the channel lives.
fn times_out(topology: Topology, fault: &Fault) -> Result<()> {
    Rig::run(topology, |rig| {
        for (step, point) in STEPS {
            let failed = rig
                .disturbed(point, fault.clone())
                .with_context(|| format!("{point:?}"))?;
            failed.at(step, |error| matches!(error, QmpError::TimedOut { .. }))?;
            rig.recovers().with_context(|| format!("{point:?}"))?;
        }
        Ok(())
    })
}

/// QEMU adds classes as it likes. The command was not executed, and the client has the error.
fn error_of_unknown_class_is_a_refusal(topology: Topology) -> Result<()> {
    const REFUSAL: &str =
        "{\"error\":{\"class\":\"NeverHeardOf\",\"desc\":\"not today\",\"hint\":1},\"id\":ID}\n";
    Rig::run(topology, |rig| {
        for (step, point) in STEPS {
            if !matches!(point, Point::Request(_)) {
                continue;
            }
            let failed = rig.disturbed(point, Fault::Instead(REFUSAL))?;
            failed.at(step, |error| error.class() == Some("NeverHeardOf"))?;
            // What was not carried out is not noted either.
            let state = rig.bench.vm.state_of(&rig.disk.id);
            let expected = match step {
                Step::DeviceDel => Some(DiskState::Attached),
                Step::BlockdevDel => Some(DiskState::NodeOnly),
                _ => None,
            };
            ensure!(state == expected, "{state:?} after {point:?}");
            ensure!(rig.has()? == expected, "QEMU has {:?}", rig.has()?);
            rig.recovers()?;
        }
        Ok(())
    })
}

/// No PCI disk on x86 says so, but other devices and machines do.
fn disk_stays_attached_if_guest_rejects_unplug(topology: Topology) -> Result<()> {
    const REFUSAL: &str = "{\"return\":{},\"id\":ID}\n{\"event\":\"DEVICE_UNPLUG_GUEST_ERROR\",\
                           \"data\":{\"device\":\"disk0\",\"path\":\"/machine/peripheral/disk0\"}}\n";
    Rig::run(topology, |rig| {
        let disk = rig.disk.clone();
        rig.attach(soon())?;
        rig.proxy
            .arm(Point::Request("device_del"), Fault::Instead(REFUSAL));
        match rig.detach(soon()) {
            Err(DetachError::GuestRejected { .. }) => {}
            other => bail!("a refusal is {other:?}"),
        }
        rig.bench.holds(&disk, DiskState::Attached)?;
        ensure!(rig.has()? == Some(DiskState::Attached));
        rig.recovers()
    })
}

fn truncated_line_closes_the_channel_and_a_new_one_works(topology: Topology) -> Result<()> {
    loses_its_channel(topology, &Fault::Cut)
}

fn closed_channel_is_reported_and_a_new_one_works(topology: Topology) -> Result<()> {
    loses_its_channel(topology, &Fault::Close)
}

fn loses_its_channel(topology: Topology, fault: &Fault) -> Result<()> {
    Rig::run(topology, |rig| {
        for (step, point) in STEPS {
            let failed = rig.disturbed(point, fault.clone())?;
            failed
                .at(step, |error| matches!(error, QmpError::Closed { .. }))
                .with_context(|| format!("{point:?}"))?;
            rig.reconnect()?;
            rig.recovers().with_context(|| format!("{point:?}"))?;
        }
        Ok(())
    })
}

fn qemu_killed_at_blockdev_add(topology: Topology) -> Result<()> {
    killed(topology, Point::Request("blockdev-add"), Step::BlockdevAdd)
}

fn qemu_killed_at_device_add(topology: Topology) -> Result<()> {
    killed(topology, Point::Request("device_add"), Step::DeviceAdd)
}

fn qemu_killed_at_device_del(topology: Topology) -> Result<()> {
    killed(topology, Point::Request("device_del"), Step::DeviceDel)
}

fn qemu_killed_at_device_deleted(topology: Topology) -> Result<()> {
    // With its last words, QEMU says that the device is gone.
    killed(topology, Point::Deleted, Step::BlockdevDel)
}

fn qemu_killed_at_blockdev_del(topology: Topology) -> Result<()> {
    killed(topology, Point::Request("blockdev-del"), Step::BlockdevDel)
}

fn killed(topology: Topology, point: Point, step: Step) -> Result<()> {
    let mut rig = Rig::boot(topology)?;
    let kill = Fault::Signal(rig.qemu(), Signal::SIGKILL);
    rig.disturbed(point, kill)?
        .at(step, |error| matches!(error, QmpError::Closed { .. }))?;
    // QEMU has exited and cannot be queried, so the lease is kept.
    ensure!(rig.bench.vm.state_of(&rig.disk.id).is_some());
    ensure!(rig.bench.vm.pool().lease_of(&rig.disk.id).is_some());
    let words = rig.bench.vm.exit_report().to_string();
    ensure!(words.contains("SIGKILL"), "it ended so: {words}");
    let qemu = rig.bench.vm.process();
    drop(rig);
    ensure!(!qemu.is_alive(), "QEMU is left");
    Ok(())
}
