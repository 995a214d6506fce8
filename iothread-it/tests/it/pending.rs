//! A removal that the guest has not carried out is pending: its disk keeps thread and slot, and
//! a later call finds its completion.
//!
//! The guest that ignores a request is a real one: it looks for a device on a root port at address
//! 0 only. At address 1 QEMU takes `device_add` and `device_del`, and the guest is notified of neither.
//! Only a reset ends it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::qemu::Topology;
use guest_vm::vm::Vm;
use iothread_hotplug::blocking::{Guest, Hotplug};
use iothread_hotplug::{
    BlockOptions, DiskSpec, DiskState, GuestDisk, GuestError, Step, UnplugProgress,
};
use iothread_pool::{IoThreadId, Placement, Pool, SlotTable};
use qmp_client::QemuVersion;
use qmp_client::command::{BlockdevDel, QomList, SystemReset};
use qmp_client::wait::Deadline;

use crate::fixture::{Bench, cases, is_outstanding, shape, soon};

cases!(q35 Q35
    unplug_before_guest_discovery_stays_pending
    pending_removal_completes_after_reset
);

/// A `Guest` that reports the disk as present.
struct NoGuest;

impl Guest for NoGuest {
    fn await_present(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }

    fn await_absent(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }
}

/// The attach fails since the guest sees nothing, and its rollback is pending.
fn unplug_before_guest_discovery_stays_pending(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let mut out_of_sight = out_of_sight(topology)?;
        let (qmp, agent) = (bench.vm.qmp(), bench.vm.agent());
        let outcome = out_of_sight.attach(qmp, agent, &disk, &Placement::First, short());
        let error = outcome.err().context("the guest saw it")?;
        ensure!(error.step == Step::AwaitPresent, "{error}");
        let Err(rollback) = error.rollback else {
            bail!("the guest completed the unplug of a disk that it never discovered");
        };
        ensure!(is_outstanding(&rollback), "{rollback}");
        is_pending(&out_of_sight, &bench.vm, &disk)?;

        let progress = out_of_sight.process_unplug_events(qmp, soon())?;
        ensure!(progress == UnplugProgress::default(), "{progress:?}");
        is_pending(&out_of_sight, &bench.vm, &disk)?;

        reset(&bench.vm)?;
        let progress = out_of_sight.process_unplug_events(bench.vm.qmp(), soon())?;
        ensure!(progress.removed == [disk.id.clone()], "{progress:?}");
        nothing_is_left(&out_of_sight, bench, &disk)
    })
}

fn pending_removal_completes_after_reset(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let mut out_of_sight = out_of_sight(topology)?;
        let qmp = bench.vm.qmp();
        out_of_sight.attach(qmp, &NoGuest, &disk, &Placement::First, soon())?;
        // The second request meets the first: QEMU may say that one is in progress.
        for _ in 0..2 {
            let in_vain = out_of_sight.detach(qmp, &disk.id, short());
            ensure!(
                in_vain.as_ref().is_err_and(is_outstanding),
                "the guest completed the unplug of a disk that it never discovered: {in_vain:?}"
            );
            is_pending(&out_of_sight, &bench.vm, &disk)?;
        }
        reset(&bench.vm)?;
        out_of_sight.detach(qmp, &disk.id, soon())?;
        nothing_is_left(&out_of_sight, bench, &disk)
    })
}

/// Disks that go to a place where the guest does not look.
fn out_of_sight(topology: Topology) -> Result<Hotplug> {
    let slots = SlotTable::on_bus("rp3", 1..=1)?;
    let version = Manifest::find()?.qemu.parsed_version();
    Ok(Hotplug::new(
        Pool::new(vec![IoThreadId::indep(0)], slots)?,
        BlockOptions::from(&shape(topology)?.config),
        version.unwrap_or(QemuVersion::OLDEST),
    ))
}

fn is_pending(hotplug: &Hotplug, vm: &Vm, disk: &DiskSpec) -> Result<()> {
    let state = hotplug.state_of(&disk.id);
    ensure!(state == Some(DiskState::RemovalPending), "{state:?}");
    ensure!(hotplug.pool().lease_of(&disk.id).is_some(), "no lease");
    ensure!(hotplug.pool().free_slots() == 0, "its slot is free");
    let thread = hotplug.pool().served_by(&IoThreadId::indep(0)).count();
    ensure!(thread == 1, "its thread is free");
    // That much QEMU has of it, indeed.
    ensure!(devices(vm)?.contains(&disk.id.to_string()), "no device");
    let node = BlockdevDel {
        node_name: disk.id.as_str(),
    };
    let refused = vm.qmp().execute(&node, soon()).err();
    let refused = refused.context("its node could be removed")?.to_string();
    ensure!(refused.contains("is in use"), "{refused}");
    Ok(())
}

fn nothing_is_left(hotplug: &Hotplug, bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    ensure!(hotplug.state_of(&disk.id).is_none());
    ensure!(hotplug.pool().free_slots() == 1, "its slot is lost");
    ensure!(!devices(&bench.vm)?.contains(&disk.id.to_string()));
    ensure!(!bench.nodes()?.contains(&disk.id.to_string()));
    bench.still_works()
}

fn reset(vm: &Vm) -> Result<()> {
    let before = vm.greeting().boot_id.clone();
    vm.qmp().execute(&SystemReset {}, soon())?;
    vm.agent().greeting_after(&before, soon())?;
    Ok(())
}

fn devices(vm: &Vm) -> Result<Vec<String>> {
    let list = QomList {
        path: "/machine/peripheral",
    };
    let devices = vm.qmp().execute(&list, soon())?;
    Ok(devices.into_iter().map(|device| device.name).collect())
}

/// For what is not to come.
fn short() -> Deadline {
    Deadline::after(Duration::from_secs(2))
}
