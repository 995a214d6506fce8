//! Live migration of a guest with disks on threads, to another QEMU on this host.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::guest::protocol::Presence;
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskState;
use iothread_pool::{IoThreadId, Placement};

use crate::evidence::{none, only, under_load};
use crate::fixture::{Bench, extent, on_each_machine, serial, shape, soon};

on_each_machine!(
    disks_keep_data_and_threads_and_hotplug_goes_on,
    hotplug_is_refused_meanwhile_and_goes_on_after_a_cancel;
    needs (when = crate::fixture::maps_queues): a_mapped_disk_keeps_its_threads,
);

/// A guest takes minutes at this rate, in bytes per second, so the migration does not end before it is to.
const SLOW: u64 = 1 << 20;
const FAST: u64 = 1 << 40;

/// One disk is there from before, on a thread that was added at run time; one is in the main loop. One comes after.
fn disks_keep_data_and_threads_and_hotplug_goes_on(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let added = bench.vm.add_thread()?;
        let [on_thread, in_main, idle] = ["disk0", "disk1", "disk2"].map(|name| bench.disk(name));
        let (on_thread, in_main, idle) = (on_thread?, in_main?, idle?);
        bench.attach(&on_thread, &Placement::Pinned(added.clone()))?;
        bench.attach(&in_main, &Placement::MainLoop)?;
        bench.attach(&idle, &Placement::Pinned(IoThreadId::indep(2)))?;
        for disk in [&on_thread, &in_main, &idle] {
            bench.vm.agent().write(&extent(&disk.id, 4 << 20), soon())?;
        }
        bench.detach(&idle)?;
        let source = bench.vm.process();
        migrate(bench, topology)?;
        ensure!(
            bench.vm.process() != source && !source.is_alive(),
            "the source is left"
        );
        for disk in [&on_thread, &in_main] {
            bench
                .vm
                .agent()
                .verify(&extent(&disk.id, 4 << 20), soon())?;
        }
        only(&added, &under_load(&bench.vm, &on_thread, 0)?)?;
        none(&under_load(&bench.vm, &in_main, 0)?)?;
        // Hot-plug goes on in the destination: its slots and threads are those of the source.
        bench.attach(&idle, &Placement::Pinned(IoThreadId::indep(2)))?;
        bench
            .vm
            .agent()
            .verify(&extent(&idle.id, 4 << 20), soon())?;
        for disk in [&on_thread, &in_main, &idle] {
            bench.detach(disk)?;
        }
        bench.still_works()
    })
}

fn a_mapped_disk_keeps_its_threads(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let mut disk = bench.disk("disk0")?;
        disk.queues = Some(2);
        let two = NonZeroUsize::new(2).context("two")?;
        bench.attach(&disk, &Placement::Spread(two))?;
        let extent = extent(&disk.id, 4 << 20);
        bench.vm.agent().write(&extent, soon())?;
        migrate(bench, topology)?;
        bench.vm.agent().verify(&extent, soon())?;
        // The guest has one CPU, which uses the first queue.
        only(&IoThreadId::indep(0), &under_load(&bench.vm, &disk, 0)?)?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn hotplug_is_refused_meanwhile_and_goes_on_after_a_cancel(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let [there, new] = ["disk0", "disk1"].map(|name| bench.disk(name));
        let (there, new) = (there?, new?);
        bench.attach(&there, &Placement::First)?;
        let free_slots = bench.vm.pool().free_slots();
        let migration = bench
            .vm
            .start_migration(&Manifest::find()?, &shape(topology)?, SLOW)?;
        let refused = bench.vm.attach(&new, &Placement::First).err();
        refused_while_migrating(refused.context("the disk was attached")?.into())?;
        ensure!(
            bench.vm.state_of(&new.id).is_none(),
            "the new disk is recorded"
        );
        ensure!(bench.vm.pool().free_slots() == free_slots, "a slot is lost");
        ensure!(
            !bench.nodes()?.contains(&new.id.to_string()),
            "its node is left"
        );
        let refused = bench.vm.detach(&there.id).err();
        refused_while_migrating(refused.context("the disk was detached")?.into())?;
        bench.holds(&there, DiskState::Attached)?;
        bench.vm.cancel_migration(migration)?;
        bench.attach(&new, &Placement::First)?;
        for disk in [&there, &new] {
            bench
                .vm
                .agent()
                .await_disk(&serial(&disk.id), Presence::Present, soon())?;
            bench.detach(disk)?;
        }
        // It can be migrated still.
        migrate(bench, topology)?;
        bench.still_works()
    })
}

fn migrate(bench: &mut Bench, topology: Topology) -> Result<()> {
    let migration = bench
        .vm
        .start_migration(&Manifest::find()?, &shape(topology)?, FAST)?;
    bench.vm.finish_migration(migration)?;
    Ok(())
}

fn refused_while_migrating(error: anyhow::Error) -> Result<()> {
    let text = format!("{error:#}");
    ensure!(text.contains("not allowed while migrating"), "{text}");
    Ok(())
}
