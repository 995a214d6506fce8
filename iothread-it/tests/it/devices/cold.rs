//! Devices that are there from the start: in the pool like any other, and detached like any other.

use anyhow::{Result, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::ScsiController;
use iothread_pool::{DeviceId, IoThreadId, Placement};

use super::scsi;
use crate::evidence::{only, under_load};
use crate::fixture::{Bench, empty_disk, extent, on_each_machine, scratch, shape, soon};

on_each_machine!(cold_plugged_disks_have_their_threads_and_detach);

/// A virtio-blk disk, and one on a SCSI controller.
fn cold_plugged_disks_have_their_threads_and_detach(topology: Topology) -> Result<()> {
    let images = scratch()?;
    let mut shape = shape(topology)?;
    let [blk, on_scsi] = ["blk0", "hd0"].map(|name| empty_disk(&images, name));
    let (blk, on_scsi) = (blk?, on_scsi?);
    let controller = ScsiController::new(DeviceId::new("scsi0")?);
    let [first, second] = [0, 1].map(IoThreadId::indep);
    shape.cold_plug(&blk, &Placement::LeastLoaded)?;
    shape.cold_plug_controller(&controller, &Placement::LeastLoaded)?;
    shape.cold_plug_on(&controller.id, &on_scsi)?;
    Bench::run_shape(&shape, |bench| {
        let free_slots = bench.vm.pool().free_slots();
        for (disk, thread) in [(&blk, &first), (&on_scsi, &second)] {
            let extent = extent(&disk.id, 1 << 20);
            bench.vm.agent().write(&extent, soon())?;
            bench.vm.agent().verify(&extent, soon())?;
            only(thread, &under_load(&bench.vm, disk, 0)?)?;
        }
        // They count: the next one goes elsewhere, to another slot.
        let hot = bench.disk("hot")?;
        let (lease, _) = bench.attach(&hot, &Placement::LeastLoaded)?;
        ensure!(
            lease.assignment.thread() == Some(&IoThreadId::indep(2)),
            "{lease:?}"
        );

        bench.detach(&blk)?;
        scsi::detach(bench, &on_scsi)?;
        bench.vm.detach(&controller.id)?;
        ensure!(
            bench.vm.pool().free_slots() == free_slots + 1,
            "{}",
            bench.vm.pool().state()
        );
        // And comes back, hot-plugged.
        bench.attach(&blk, &Placement::First)?;
        bench.vm.agent().verify(&extent(&blk.id, 1 << 20), soon())?;
        bench.detach(&blk)?;
        bench.still_works()
    })
}
