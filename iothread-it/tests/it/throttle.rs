//! A throttle group that disks of several threads share.

use anyhow::{Result, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement};
use serde_json::json;

use crate::fixture::{Bench, on_each_machine, soon};
use crate::raw;
use crate::regressions::load::load;

on_each_machine!(disks_of_two_threads_share_a_limit);

/// Operations per second of the group: few, so that an emulated guest on a busy host can make more.
const LIMIT: u32 = 40;

/// How long the disks are loaded.
const LOAD_MS: u64 = 2000;

/// Of the limit. The group lets a burst of a tenth of a second through, and the load of each disk ends with what is in flight.
const MOST: f64 = 1.5;

/// Of the limit: a half of it is too little.
const LEAST: f64 = 0.75;

fn disks_of_two_threads_share_a_limit(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let group =
            json!({"qom-type": "throttle-group", "id": "group", "limits": {"iops-total": LIMIT}});
        bench.vm.qmp().execute(&raw::ObjectAdd(group), soon())?;
        let disks = [throttled(bench, "disk0")?, throttled(bench, "disk1")?];
        for (number, disk) in disks.iter().enumerate() {
            bench.attach(disk, &Placement::Pinned(IoThreadId::indep(number)))?;
        }
        reach_the_limit(bench, &disks)?;
        // What one disk leaves is the other's.
        let (hotplug, qmp, agent) = bench.vm.parts();
        let running = agent.start_load(&load(&disks[0], 600_000), soon())?;
        hotplug.detach(qmp, &disks[0].id, soon())?;
        running.finish(soon())?;
        reach_the_limit(bench, &disks[1..])?;
        bench.detach(&disks[1])?;
        let group = raw::ObjectDel(json!({"id": "group"}));
        bench.vm.qmp().execute(&group, soon())?;
        bench.still_works()
    })
}

/// Loads disks until they reach the limit together, which they never exceed. If the host is too busy for a while,
/// they reach it later.
fn reach_the_limit(bench: &Bench, disks: &[DiskSpec]) -> Result<()> {
    let (limit, patience) = (f64::from(LIMIT), soon());
    loop {
        let rate = rate(bench, disks)?;
        let made = format!("{rate:.0} operations per second of {LIMIT}");
        ensure!(rate <= limit * MOST, "{made}: the disks exceed the limit");
        if rate >= limit * LEAST {
            return Ok(());
        }
        ensure!(
            !patience.has_passed(),
            "{made}: the disks do not reach the limit"
        );
    }
}

/// Operations per second of disks that are loaded at once.
fn rate(bench: &Bench, disks: &[DiskSpec]) -> Result<f64> {
    let mut running = Vec::new();
    for disk in disks {
        let load = load(disk, LOAD_MS);
        running.push(bench.vm.agent().start_load(&load, soon())?);
    }
    let mut rate = 0.0;
    for load in running {
        let report = load.finish(soon())?;
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let of_disk = report.operations as f64 * 1e3 / report.elapsed_ms as f64;
        rate += of_disk;
    }
    Ok(rate)
}

fn throttled(bench: &Bench, name: &str) -> Result<DiskSpec> {
    let mut disk = bench.disk(name)?;
    let node = json!({
        "driver": "throttle",
        "throttle-group": "group",
        "file": {"driver": "file", "filename": disk.path.to_str()},
    });
    disk.node = Some(serde_json::from_value(node)?);
    Ok(disk)
}
