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

/// Operations per second of the group.
const LIMIT: u64 = 200;

/// How long both disks are loaded.
const LOAD_MS: u64 = 2000;

/// The group lets a burst of a tenth of a second through, and the load of each disk ends with what is in flight.
const LEEWAY: f64 = 1.5;

fn disks_of_two_threads_share_a_limit(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let group =
            json!({"qom-type": "throttle-group", "id": "group", "limits": {"iops-total": LIMIT}});
        bench.vm.qmp().execute(&raw::ObjectAdd(group), soon())?;
        let disks = [throttled(bench, "disk0")?, throttled(bench, "disk1")?];
        for (number, disk) in disks.iter().enumerate() {
            bench.attach(disk, &Placement::Pinned(IoThreadId::indep(number)))?;
        }
        let together: f64 = rates(bench, &disks)?.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let most = LIMIT as f64 * LEEWAY;
        ensure!(together <= most, "{together:.0} operations per second");
        // What one disk leaves is the other's.
        let (hotplug, qmp, agent) = bench.vm.parts();
        let running = agent.start_load(&load(&disks[0], 600_000), soon())?;
        hotplug.detach(qmp, &disks[0].id, soon())?;
        running.finish(soon())?;
        let alone = rates(bench, &disks[1..])?[0];
        ensure!(alone <= most, "{alone:.0} operations per second");
        bench.detach(&disks[1])?;
        let group = raw::ObjectDel(json!({"id": "group"}));
        bench.vm.qmp().execute(&group, soon())?;
        bench.still_works()
    })
}

/// Operations per second of each disk, all loaded at once.
fn rates(bench: &Bench, disks: &[DiskSpec]) -> Result<Vec<f64>> {
    let mut running = Vec::new();
    for disk in disks {
        let load = load(disk, LOAD_MS);
        running.push(bench.vm.agent().start_load(&load, soon())?);
    }
    let mut rates = Vec::new();
    for load in running {
        let report = load.finish(soon())?;
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        rates.push(report.operations as f64 * 1e3 / report.elapsed_ms as f64);
    }
    Ok(rates)
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
