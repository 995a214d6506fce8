//! SCSI: the controller has the thread, and its disks follow.

use anyhow::{Context, Result, bail, ensure};
use guest_vm::config;
use guest_vm::guest::protocol::Presence;
use guest_vm::qemu::{Topology, VmSpec};
use iothread_hotplug::{DetachError, DiskSpec, ScsiController};
use iothread_pool::{Allocation, DeviceId, IoThreadId, Lease, Placement, ScsiAddress, VqMapping};
use qmp_client::command::QomGet;

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, extent, on_each_machine, record_thread, serial, shape, soon};

on_each_machine!(
    a_controller_s_thread_serves_its_disks,
    controller_with_disks_is_not_detached,
    the_configured_driver_puts_disks_on_one_controller,
    replugged_disk_is_not_confused_with_its_predecessor,
    unsupported_configured_driver_is_an_error;
    needs (when = crate::fixture::maps_scsi_queues): queues_of_a_controller_are_mapped;
    needs (when = crate::fixture::lacks_scsi_mappings):
        controller_mapping_is_refused_before_qemu_10_0,
);

fn controller(bench: &mut Bench, placement: &Placement) -> Result<(DeviceId, Lease)> {
    let controller = ScsiController::new(DeviceId::new("scsi0")?);
    let (hotplug, qmp, _) = bench.vm.parts();
    let lease = hotplug.attach_controller(qmp, &controller, placement, soon())?;
    Ok((controller.id, lease))
}

fn attach_on(bench: &mut Bench, controller: &DeviceId, name: &str) -> Result<DiskSpec> {
    let disk = bench.disk(name)?;
    let (hotplug, qmp, agent) = bench.vm.parts();
    hotplug.attach_on(qmp, agent, controller, &disk, soon())?;
    Ok(disk)
}

/// QEMU may be done before the guest is notified.
pub(crate) fn detach(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    bench.vm.detach(&disk.id)?;
    let gone = Presence::Absent;
    bench
        .vm
        .agent()
        .await_disk(&serial(&disk.id), gone, soon())?;
    ensure!(
        !bench.nodes()?.contains(&disk.id.to_string()),
        "its node is left"
    );
    Ok(())
}

fn a_controller_s_thread_serves_its_disks(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let free_slots = bench.vm.pool().free_slots();
        let thread = IoThreadId::indep(1);
        let (scsi0, _) = controller(bench, &Placement::Pinned(thread.clone()))?;
        let property = QomGet {
            path: "/machine/peripheral/scsi0",
            property: "iothread",
        };
        let link = bench.vm.qmp().execute(&property, soon())?;
        ensure!(link == "/objects/indep_iothread_1", "QEMU says {link}");

        let one = attach_on(bench, &scsi0, "one")?;
        let two = attach_on(bench, &scsi0, "two")?;
        for disk in [&one, &two] {
            let extent = extent(&disk.id, 1 << 20);
            bench.vm.agent().write(&extent, soon())?;
            only(&thread, &under_load(&bench.vm, disk, 0)?)?;
        }
        record_thread(&bench.vm, &thread);
        let state = bench.vm.pool().state().to_string();
        ensure!(
            state.contains("one (target 0 of scsi0), two (target 1 of scsi0)"),
            "{state}"
        );

        // One goes, and the other has what it had. Its place is given again.
        detach(bench, &one)?;
        let extent = extent(&two.id, 1 << 20);
        bench.vm.agent().verify(&extent, soon())?;
        let three = attach_on(bench, &scsi0, "three")?;
        only(&thread, &under_load(&bench.vm, &three, 0)?)?;
        for disk in [&two, &three] {
            detach(bench, disk)?;
        }
        bench.vm.detach(&scsi0)?;
        ensure!(bench.vm.pool().free_slots() == free_slots, "a slot is lost");
        bench.still_works()
    })
}

fn mapped() -> Result<Placement> {
    let mapping = VqMapping::explicit(vec![
        (IoThreadId::indep(3), vec![0]),
        (IoThreadId::indep(1), vec![1]),
    ])?;
    Ok(Placement::Mapped(mapping))
}

/// 7.2 would take the mapping and drop it.
fn controller_mapping_is_refused_before_qemu_10_0(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let error = controller(bench, &mapped()?).err();
        let message = error.context("a mapping was taken")?;
        let message = format!("{message:#}");
        let expected = "iothread-vq-mapping of a virtio-scsi-pci";
        ensure!(
            message.contains(expected) && message.contains("10.0.0 or newer"),
            "{message}"
        );
        bench.still_works()
    })
}

fn queues_of_a_controller_are_mapped(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.vcpus = 2;
    Bench::run_shape(&shape, |bench| {
        let (scsi0, _) = controller(bench, &mapped()?)?;
        let disk = attach_on(bench, &scsi0, "disk0")?;
        for (cpu, number) in [(0, 3), (1, 1)] {
            let gained = under_load(&bench.vm, &disk, cpu)?;
            only(&IoThreadId::indep(number), &gained).with_context(|| format!("queue {cpu}"))?;
        }
        detach(bench, &disk)?;
        Ok(bench.vm.detach(&scsi0)?)
    })
}

/// QEMU would take the disks away with it.
fn controller_with_disks_is_not_detached(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let (scsi0, _) = controller(bench, &Placement::First)?;
        let disk = attach_on(bench, &scsi0, "disk0")?;
        match bench.vm.detach(&scsi0) {
            Err(DetachError::HasDisks { disks, .. }) => ensure!(disks == "disk0", "{disks}"),
            other => bail!("it was not refused: {other:?}"),
        }
        let extent = extent(&disk.id, 1 << 20);
        bench.vm.agent().write(&extent, soon())?;
        bench.vm.agent().verify(&extent, soon())?;
        detach(bench, &disk)?;
        bench.vm.detach(&scsi0)?;
        bench.still_works()
    })
}

/// Kata's default: one controller for the VM's disks, on a thread of its own. With `enable_iothreads`
/// alone it is the only one.
fn the_configured_driver_puts_disks_on_one_controller(topology: Topology) -> Result<()> {
    let text = "[hypervisor.qemu]\nenable_iothreads = true\nblock_device_aio = \"threads\"\n\
                block_device_driver = \"virtio-scsi\"\nindep_iothreads_poll_max_ns = 0";
    let shape = VmSpec {
        topology,
        ..VmSpec::new(config::read(text)?)
    };
    Bench::run_shape(&shape, |bench| {
        let thread = IoThreadId::indep(0);
        for target in 0..2 {
            let disk = bench.disk(&format!("disk{target}"))?;
            let held = bench.vm.attach_as_configured(&disk)?;
            let address = ScsiAddress {
                controller: DeviceId::new("scsi0")?,
                target,
            };
            ensure!(held == Allocation::Scsi(address), "{held:?}");
            only(&thread, &under_load(&bench.vm, &disk, 0)?)?;
        }
        Ok(())
    })
}

/// QEMU has removed a disk some milliseconds before the guest is notified: who looks for the next one
/// with the same serial must not find the one that is going.
fn replugged_disk_is_not_confused_with_its_predecessor(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let (scsi0, _) = controller(bench, &Placement::First)?;
        let disk = attach_on(bench, &scsi0, "disk0")?;
        for _ in 0..5 {
            bench.vm.detach(&disk.id)?;
            // Nothing waits for the guest here.
            attach_on(bench, &scsi0, "disk0")?;
            let extent = extent(&disk.id, 1 << 20);
            bench.vm.agent().write(&extent, soon())?;
            bench.vm.agent().verify(&extent, soon())?;
        }
        detach(bench, &disk)?;
        bench.vm.detach(&scsi0)?;
        bench.still_works()
    })
}

/// And not attached by another driver.
fn unsupported_configured_driver_is_an_error(topology: Topology) -> Result<()> {
    let text = "[hypervisor.qemu]\nblock_device_aio = \"threads\"\n\
                block_device_driver = \"nvdimm\"";
    let shape = VmSpec {
        topology,
        ..VmSpec::new(config::read(text)?)
    };
    Bench::run_shape(&shape, |bench| {
        let disk = bench.disk("disk0")?;
        let refused = bench.vm.attach_as_configured(&disk).err();
        let refused = anyhow::Error::from(refused.context("it was attached")?);
        let message = format!("{refused:#}");
        ensure!(
            message.contains("block_device_driver is not supported; set it to"),
            "{message}"
        );
        ensure!(!bench.nodes()?.contains(&disk.id.to_string()));
        ensure!(bench.vm.pool().allocation_of(&disk.id).is_none());
        Ok(())
    })
}
