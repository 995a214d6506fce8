//! A guest that ejects a device before it has found it: the attach plugs it in again.
//!
//! With ACPI that is nothing strange. Each notification names all slots that are to be ejected, so a
//! guest handles one request twice if another event happens meanwhile, and two requests as two.
//! It ejects the slot as often, and at the second time takes what has come there in between.

use std::cell::Cell;

use anyhow::{Result, ensure};
use guest_vm::guest::Agent;
use guest_vm::qemu::Topology;
use iothread_hotplug::blocking::Guest;
use iothread_hotplug::{GuestDisk, GuestError};
use iothread_pool::{DeviceId, Placement};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, Qmp};

use crate::fixture::{Bench, cases, soon};
use crate::raw::deleted;

cases!(q35 Q35
    disk_ejected_before_discovery_is_plugged_again
);

fn disk_ejected_before_discovery_is_plugged_again(topology: Topology) -> Result<()> {
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

/// A guest that ejects the first disk before it reports its discovery.
struct Ejecting<'a> {
    qmp: &'a Qmp,
    agent: &'a Agent,
    done: Cell<bool>,
}

impl Guest for Ejecting<'_> {
    fn await_present(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError> {
        if !self.done.replace(true) {
            let since = self.qmp.cursor();
            self.agent.await_present(disk, soon())?;
            let power = "/sys/bus/pci/slots/*/power";
            self.agent.set_attribute(power, "0", soon())?;
            deleted(self.qmp, disk.id.as_str(), since)?;
        }
        self.agent.await_present(disk, deadline)
    }

    fn await_absent(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError> {
        self.agent.await_absent(disk, deadline)
    }
}

/// The number of DEVICE_DELETED events of a disk.
fn deletions(qmp: &Qmp, disk: &DeviceId, since: Cursor) -> Result<usize> {
    let count = qmp.events_since(since, |events| {
        events
            .filter(|event| event.name == "DEVICE_DELETED")
            .filter(|event| event.str("device") == Some(disk.as_str()))
            .count()
    });
    count.map_err(|lost| anyhow::anyhow!("{lost}"))
}
