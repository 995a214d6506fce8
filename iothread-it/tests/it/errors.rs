//! Requests that fail on the host, injected by `blkdebug`: what the guest sees of them, and that the threads go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskSpec;
use iothread_pool::Placement;
use qmp_client::Qmp;
use qmp_client::command::Cont;
use qmp_client::wait::Deadline;
use serde_json::{Value, json};

use crate::fixture::{Bench, extent, is_outstanding, on_each_machine, soon};
use crate::raw;
use crate::regressions::load::load;

on_each_machine!(
    a_failed_read_reaches_the_guest_and_no_neighbour,
    a_failed_write_stops_the_vm_and_is_repeated_after_cont,
    disk_that_stopped_the_vm_detaches_after_cont,
    a_full_image_stops_the_vm_by_default,
);

/// EIO and ENOSPC.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn a_failed_read_reaches_the_guest_and_no_neighbour(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        // From its second mebibyte on: the guest reads the first for partitions.
        let disk = failing(
            bench,
            "disk0",
            json!({"iotype": "read", "errno": EIO, "sector": 2048}),
        )?;
        let neighbour = bench.disk("disk1")?;
        for disk in [&disk, &neighbour] {
            bench.attach(disk, &Placement::First)?;
        }
        let agent = bench.vm.agent();
        let [failing, other] =
            [&disk, &neighbour].map(|disk| once_through(disk, Direction::Read, 4 << 20));
        let running = [
            agent.start_load(&failing, soon())?,
            agent.start_load(&other, soon())?,
        ];
        let [failed, other] = running.map(|load| load.finish(soon()));
        let (failed, other) = (failed?, other?);
        ensure!(failed.errors > 0 && failed.operations > 0, "{failed:?}");
        ensure!(other.errors == 0 && other.operations > 0, "{other:?}");
        for disk in [&disk, &neighbour] {
            bench.detach(disk)?;
        }
        bench.still_works()
    })
}

/// `werror=stop`: QEMU keeps the request and stops the CPUs. The error is injected once.
fn a_failed_write_stops_the_vm_and_is_repeated_after_cont(topology: Topology) -> Result<()> {
    stopped_by_a_write(topology, EIO, Some("stop"))
}

/// Nothing is removed while the CPUs are stopped, and what is requested then is completed.
fn disk_that_stopped_the_vm_detaches_after_cont(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = failing_once(bench, EIO, Some("stop"))?;
        bench.attach(&disk, &Placement::First)?;
        let running = {
            let (hotplug, qmp, agent) = bench.vm.parts();
            let since = qmp.cursor();
            let running = agent.start_load(&load(&disk, 600_000), soon())?;
            stopped(qmp, since)?;
            let early = hotplug.detach(qmp, &disk.id, Deadline::after(Duration::from_secs(1)));
            ensure!(
                early.as_ref().is_err_and(is_outstanding),
                "a stopped guest released the disk: {early:?}"
            );
            qmp.execute(&Cont {}, soon())?;
            hotplug.detach(qmp, &disk.id, soon())?;
            running
        };
        let report = running.finish(soon())?;
        // The end of the disk, not the injected error.
        ensure!(report.operations > 0 && report.errors > 0, "{report:?}");
        bench.still_works()
    })
}

/// `werror=enospc`, the default: only a full image stops the VM.
fn a_full_image_stops_the_vm_by_default(topology: Topology) -> Result<()> {
    stopped_by_a_write(topology, ENOSPC, None)
}

/// Loads a disk of which one write fails, and checks that the guest sees no error of it.
fn stopped_by_a_write(topology: Topology, errno: i32, werror: Option<&str>) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = failing_once(bench, errno, werror)?;
        bench.attach(&disk, &Placement::First)?;
        let since = bench.vm.qmp().cursor();
        let load = once_through(&disk, Direction::Write, 16 << 20);
        let running = bench.vm.agent().start_load(&load, soon())?;
        stopped(bench.vm.qmp(), since)?;
        bench.vm.qmp().execute(&Cont {}, soon())?;
        let report = running.finish(soon())?;
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        let extent = extent(&disk.id, 4 << 20);
        bench.vm.agent().write(&extent, soon())?;
        bench.vm.agent().verify(&extent, soon())?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

/// A load that uses each block once, also the one that fails, however long that takes.
fn once_through(disk: &DiskSpec, direction: Direction, length: u64) -> Load {
    let load = load(disk, 50_000);
    Load {
        extent: extent(&disk.id, length),
        direction,
        operations: Some(length / u64::from(load.block_size)),
        ..load
    }
}

fn failing_once(bench: &Bench, errno: i32, werror: Option<&str>) -> Result<DiskSpec> {
    // The load has started before it gets to this sector. Else the stopped guest could not say so.
    let error = json!({"iotype": "write", "errno": errno, "once": true, "sector": 24 << 10});
    let mut disk = failing(bench, "disk0", error)?;
    if let Some(werror) = werror {
        disk.device_options = serde_json::from_value(json!({"werror": werror}))?;
    }
    Ok(disk)
}

/// A disk of which requests fail.
fn failing(bench: &Bench, name: &str, mut error: Value) -> Result<DiskSpec> {
    let mut disk = bench.disk(name)?;
    error["event"] = json!("none");
    let node = json!({
        "driver": "raw",
        "file": {
            "driver": "blkdebug",
            "inject-error": [error],
            "image": {"driver": "file", "filename": disk.path.to_str()},
        },
    });
    disk.node = Some(serde_json::from_value(node)?);
    Ok(disk)
}

/// Waits until an I/O error has stopped the VM.
fn stopped(qmp: &Qmp, since: qmp_client::Cursor) -> Result<()> {
    qmp.wait_event("BLOCK_IO_ERROR with action stop", since, soon(), |event| {
        (event.name == "BLOCK_IO_ERROR" && event.str("action") == Some("stop")).then_some(())
    })?;
    qmp.wait_event("STOP", since, soon(), |event| {
        (event.name == "STOP").then_some(())
    })?;
    let status = qmp.execute(&raw::QueryStatus(json!({})), soon())?;
    ensure!(status["status"] == "io-error", "{status}");
    Ok(())
}
