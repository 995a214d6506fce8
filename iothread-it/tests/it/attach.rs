//! A hot-plugged disk goes to the thread that the pool chose.

use anyhow::{Result, ensure};
use guest_vm::qemu::Topology;
use iothread_pool::{IoThreadId, Placement};
use qmp_client::command::QomGet;

use crate::fixture::{Bench, on_each_machine, record_thread, record_times, soon};

on_each_machine!(; on every topology: the_first_disk_goes_to_indep_iothread_0);

fn the_first_disk_goes_to_indep_iothread_0(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (lease, attach) = bench.attach(&disk, &Placement::First)?;
        let thread = IoThreadId::indep(0);
        ensure!(lease.assignment.thread() == Some(&thread), "{lease:?}");
        // QEMU's answer, compared with the pool's.
        let property = QomGet {
            path: "/machine/peripheral/disk0",
            property: "iothread",
        };
        let link = bench.vm.qmp().execute(&property, soon())?;
        ensure!(link == "/objects/indep_iothread_0", "QEMU says {link}");
        let detach = bench.detach(&disk)?;
        record_times(attach, detach);
        record_thread(&bench.vm, &thread);
        Ok(())
    })
}
