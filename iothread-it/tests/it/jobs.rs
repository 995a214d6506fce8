//! Block jobs of disks on threads, beside hotplug of their neighbours, and of the disk itself.

use anyhow::{Context, Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::qemu::Topology;
use iothread_hotplug::{DiskSpec, DiskState};
use iothread_pool::Placement;
use qmp_client::Qmp;
use serde_json::json;

use crate::fixture::{Bench, DISK_SIZE, extent, on_each_machine, soon};
use crate::raw::{self, job};
use crate::regressions::load::load;

on_each_machine!(
    a_backup_is_consistent_beside_hotplug_of_neighbours,
    a_mirror_completes_beside_hotplug_of_neighbours,
    disk_with_a_running_job_keeps_its_thread_until_the_job_has_ended,
);

/// A job that does this many bytes a second does not end by itself.
const SLOW: u64 = 1 << 16;

fn a_backup_is_consistent_beside_hotplug_of_neighbours(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let before = extent(&disk.id, 16 << 20);
        bench.vm.agent().write(&before, soon())?;
        let target = target(bench)?;
        // The guest writes another pattern while the old one is copied.
        let mut writes = load(&disk, 3000);
        writes.extent.seed += 1;
        let since = bench.vm.qmp().cursor();
        let backup = json!({"job-id": "backup", "device": disk.id.as_str(), "target": "target", "sync": "full"});
        bench
            .vm
            .qmp()
            .execute(&raw::BlockdevBackup(backup), soon())?;
        beside(bench, &writes)?;
        job(bench.vm.qmp(), "backup", "null", since)?;
        drop_target(bench.vm.qmp())?;
        is_on_the_host(&target, before.seed)?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn a_mirror_completes_beside_hotplug_of_neighbours(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let target = target(bench)?;
        let since = bench.vm.qmp().cursor();
        let mirror = json!({"job-id": "mirror", "device": disk.id.as_str(), "target": "target", "sync": "full"});
        bench
            .vm
            .qmp()
            .execute(&raw::BlockdevMirror(mirror), soon())?;
        beside(bench, &load(&disk, 3000))?;
        job(bench.vm.qmp(), "mirror", "ready", since)?;
        let complete = raw::BlockJobComplete(json!({"device": "mirror"}));
        bench.vm.qmp().execute(&complete, soon())?;
        job(bench.vm.qmp(), "mirror", "null", since)?;
        // The disk is on the target now. The load has written another pattern.
        let mut extent = extent(&disk.id, 16 << 20);
        extent.seed += 1;
        bench.vm.agent().write(&extent, soon())?;
        is_on_the_host(&target, extent.seed)?;
        bench.vm.detach(&disk.id)?;
        bench.still_works()
    })
}

/// The guest releases the disk, and the job keeps the node, which is on the thread.
fn disk_with_a_running_job_keeps_its_thread_until_the_job_has_ended(
    topology: Topology,
) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        // Something to copy.
        bench
            .vm
            .agent()
            .write(&extent(&disk.id, 16 << 20), soon())?;
        target(bench)?;
        let since = bench.vm.qmp().cursor();
        let backup = json!({"job-id": "backup", "device": disk.id.as_str(), "target": "target", "sync": "full",
                            "speed": SLOW});
        bench
            .vm
            .qmp()
            .execute(&raw::BlockdevBackup(backup), soon())?;
        let refused = bench
            .vm
            .detach(&disk.id)
            .err()
            .context("the node was deleted")?;
        let text = format!("{:#}", anyhow::Error::from(refused));
        ensure!(
            text.contains("in use") || text.contains("is busy"),
            "{text}"
        );
        bench.holds(&disk, DiskState::NodeOnly)?;
        bench
            .vm
            .qmp()
            .execute(&raw::BlockJobCancel(json!({"device": "backup"})), soon())?;
        job(bench.vm.qmp(), "backup", "null", since)?;
        bench.detach(&disk)?;
        drop_target(bench.vm.qmp())?;
        bench.still_works()
    })
}

/// Runs a load while a neighbour on the same thread comes and goes.
fn beside(bench: &mut Bench, load: &Load) -> Result<()> {
    ensure!(load.direction == Direction::Write, "a load that writes");
    let neighbour = bench.disk("neighbour")?;
    let (hotplug, qmp, agent) = bench.vm.parts();
    let running = agent.start_load(load, soon())?;
    for _ in 0..3 {
        hotplug.attach(qmp, agent, &neighbour, &Placement::First, soon())?;
        hotplug.detach(qmp, &neighbour.id, soon())?;
    }
    let report = running.finish(soon())?;
    ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
    Ok(())
}

/// Makes a node to copy to.
fn target(bench: &Bench) -> Result<DiskSpec> {
    let target = bench.disk("target")?;
    let file = json!({"driver": "file", "filename": target.path.to_str()});
    let node = json!({"driver": "raw", "node-name": "target", "file": file});
    bench.vm.qmp().execute(&raw::BlockdevAdd(node), soon())?;
    Ok(target)
}

fn drop_target(qmp: &Qmp) -> Result<()> {
    qmp.execute(&raw::BlockdevDel(json!({"node-name": "target"})), soon())?;
    Ok(())
}

/// Checks the first bytes of a file against the pattern of a seed.
fn is_on_the_host(disk: &DiskSpec, seed: u64) -> Result<()> {
    let mut on_host = vec![0; 16 << 20];
    ensure!(
        on_host.len() as u64 <= DISK_SIZE,
        "it is longer than the disk"
    );
    let file = std::fs::File::open(&disk.path)?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut on_host, 0)?;
    let wrong = guest_vm::guest::pattern::first_mismatch(seed, 0, &on_host);
    ensure!(wrong.is_none(), "the copy is wrong at {wrong:?}");
    Ok(())
}
