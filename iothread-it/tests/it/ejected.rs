//! A guest that ejects a device before it has found it: the attach plugs it in again.
//!
//! With ACPI that is nothing strange. Each notification names all slots that are to be ejected, so a
//! guest hears one request twice if something else happens meanwhile, and two if it is asked twice.
//! It ejects the slot as often, and at the second time takes what has come there in between.

use std::cell::Cell;

use anyhow::{Result, ensure};
use iothread_it::artifacts::Manifest;
use iothread_it::guest::Agent;
use iothread_it::hotplug::{BlockOptions, Guest, GuestError, Hotplug};
use iothread_it::pool::{DeviceId, IoThreadId, Placement, Pool, SlotTable};
use iothread_it::qemu::{QemuVersion, Topology};
use iothread_it::qmp::command::{Cont, Stop};
use iothread_it::qmp::{Cursor, Qmp, QmpError};
use iothread_it::wait::Deadline;
use serde_json::json;

use crate::fixture::{Bench, cases, shape, soon};
use crate::raw::{DeviceDel, deleted};

cases!(q35 Q35
    a_disk_that_is_ejected_before_it_is_found_comes_again
    a_disk_comes_where_another_was_asked_for_many_times
);

fn a_disk_that_is_ejected_before_it_is_found_comes_again(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (hotplug, qmp, agent) = bench.vm.parts();
        let since = qmp.cursor();
        let guest = Ejecting {
            qmp,
            agent,
            done: Cell::new(false),
        };
        let lease = hotplug.attach(qmp, &guest, &disk, &Placement::First, soon())?;
        ensure!(deletions(qmp, &disk.id, since)? == 1, "it was not ejected");
        ensure!(hotplug.pool().lease_of(&disk.id) == Some(&lease));
        bench.detach(&disk)?;
        bench.still_works()
    })
}

/// A guest that ejects the first disk that it gets, and tells nobody that it had it.
struct Ejecting<'a> {
    qmp: &'a Qmp,
    agent: &'a Agent,
    done: Cell<bool>,
}

impl Guest for Ejecting<'_> {
    fn await_present(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError> {
        if !self.done.replace(true) {
            let since = self.qmp.cursor();
            self.agent.await_present(disk, soon())?;
            let power = "/sys/bus/pci/slots/*/power";
            self.agent.set_attribute(power, "0", soon())?;
            deleted(self.qmp, disk.as_str(), since)?;
        }
        self.agent.await_present(disk, deadline)
    }

    fn await_absent(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError> {
        self.agent.await_absent(disk, deadline)
    }
}

/// How often. Whether the host is between two ejects with its next disk is up to both: they are
/// milliseconds apart.
const ROUNDS: usize = 8;

/// More requests than the guest hears before it lets go.
const REQUESTS: usize = 30;

/// The disk has no other slot to go to. How often the guest took it is in the record.
fn a_disk_comes_where_another_was_asked_for_many_times(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let mut hotplug = one_slot(topology)?;
        let (qmp, agent) = (bench.vm.qmp(), bench.vm.agent());
        let mut taken = 0;
        for _ in 0..ROUNDS {
            let since = qmp.cursor();
            let guest = Halted { qmp, agent };
            hotplug.attach(qmp, &guest, &disk, &Placement::First, soon())?;
            taken += deletions(qmp, &disk.id, since)?;
            ask_many_times(qmp, &disk.id)?;
            let settled = hotplug.settle(qmp, soon())?;
            ensure!(settled.gone == [disk.id.clone()], "{settled:?}");
        }
        kata_test::measure("taken", taken as f64);
        qmp.execute(&Cont {}, soon())?;
        bench.still_works()
    })
}

/// A guest that goes on once a disk is there, and not before.
struct Halted<'a> {
    qmp: &'a Qmp,
    agent: &'a Agent,
}

impl Guest for Halted<'_> {
    fn await_present(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError> {
        self.qmp.execute(&Cont {}, soon())?;
        self.agent.await_present(disk, deadline)
    }

    fn await_absent(&self, _: &DeviceId, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }
}

/// Asks again and again, and then lets the guest run for a moment at a time until it has let go: it
/// is stopped then, and ejects that are left wait for the next disk.
fn ask_many_times(qmp: &Qmp, disk: &DeviceId) -> Result<()> {
    let since = qmp.cursor();
    for _ in 0..REQUESTS {
        match qmp.execute(&DeviceDel(json!({"id": disk.as_str()})), soon()) {
            Ok(_) | Err(QmpError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let patience = soon();
    loop {
        qmp.execute(&Stop {}, soon())?;
        if deletions(qmp, disk, since)? > 0 {
            return Ok(());
        }
        ensure!(!patience.has_passed(), "the guest does not let go");
        qmp.execute(&Cont {}, soon())?;
    }
}

/// How often QEMU said that a disk is gone.
fn deletions(qmp: &Qmp, disk: &DeviceId, since: Cursor) -> Result<usize> {
    let count = qmp.events_since(since, |events| {
        events
            .filter(|event| event.name == "DEVICE_DELETED")
            .filter(|event| event.str("device") == Some(disk.as_str()))
            .count()
    });
    count.map_err(|lost| anyhow::anyhow!("{lost}"))
}

fn one_slot(topology: Topology) -> Result<Hotplug> {
    let version = Manifest::find()?.qemu.numbers();
    Ok(Hotplug::new(
        Pool::new(vec![IoThreadId::indep(0)], SlotTable::on_bus("rp3", 0..=0)),
        BlockOptions::from(&shape(topology)?.config),
        version.unwrap_or(QemuVersion::OLDEST),
    ))
}
