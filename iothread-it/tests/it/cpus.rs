//! A CPU that is hot-plugged while disks of IOThreads are in use.

use anyhow::{Context, Result, ensure};
use guest_vm::guest::protocol::Load;
use guest_vm::qemu::{Topology, VmSpec};
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement, VqMapping};
use qmp_client::command::QueryIothreads;
use serde_json::{Value, json};

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, extent, on_each_machine, shape, soon};
use crate::raw;
use crate::regressions::load::load;

on_each_machine!(
    a_cpu_is_added_beside_a_loaded_disk_of_one_thread;
    needs (when = crate::fixture::maps_queues):
        a_cpu_that_is_added_uses_its_queue_of_a_loaded_mapped_disk,
);

/// The id of the CPU that is added.
const CPU: &str = "cpu1";

fn a_cpu_is_added_beside_a_loaded_disk_of_one_thread(topology: Topology) -> Result<()> {
    Bench::run_shape(&shape_with_room(topology)?, |bench| {
        let thread = IoThreadId::indep(1);
        let mut disk = bench.disk("disk0")?;
        disk.queues = Some(2);
        bench.attach(&disk, &Placement::Pinned(thread.clone()))?;
        add_cpu_under_load(bench, &disk)?;
        for cpu in [0, 1] {
            only(&thread, &under_load(&bench.vm, &disk, cpu)?)?;
        }
        bench.detach(&disk)?;
        bench.still_works()
    })
}

/// The disk has a queue for the CPU before there is one. Another mapping follows.
fn a_cpu_that_is_added_uses_its_queue_of_a_loaded_mapped_disk(topology: Topology) -> Result<()> {
    Bench::run_shape(&shape_with_room(topology)?, |bench| {
        let [mut disk, mut later] = [bench.disk("disk0")?, bench.disk("disk1")?];
        (disk.queues, later.queues) = (Some(2), Some(2));
        bench.attach(&disk, &mapped([0, 1])?)?;
        add_cpu_under_load(bench, &disk)?;
        bench.attach(&later, &mapped([3, 2])?)?;
        for (disk, threads) in [(&disk, [0, 1]), (&later, [3, 2])] {
            let extent = extent(&disk.id, 4 << 20);
            bench.vm.agent().write(&extent, soon())?;
            bench.vm.agent().verify(&extent, soon())?;
            for (cpu, thread) in (0..).zip(threads) {
                only(
                    &IoThreadId::indep(thread),
                    &under_load(&bench.vm, disk, cpu)?,
                )
                .with_context(|| format!("{}, CPU {cpu}", disk.id))?;
            }
        }
        for disk in [&later, &disk] {
            bench.detach(disk)?;
        }
        bench.still_works()
    })
}

/// One CPU, and room for another. The later `-smp` adds to the first.
fn shape_with_room(topology: Topology) -> Result<VmSpec> {
    let mut shape = shape(topology)?;
    shape.config.vcpus = 1;
    shape.arguments = ["-smp", "1,maxcpus=2"].map(Into::into).to_vec();
    Ok(shape)
}

/// The first queue on the first thread, and the second on the second.
fn mapped(threads: [usize; 2]) -> Result<Placement> {
    let [first, second] = threads.map(IoThreadId::indep);
    let mapping = VqMapping::explicit(vec![(first, vec![0]), (second, vec![1])])?;
    Ok(Placement::Mapped(mapping))
}

/// Plugs a CPU in while the guest writes to the disk, and checks the data and that the threads are the same.
fn add_cpu_under_load(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    let written = extent(&disk.id, 16 << 20);
    bench.vm.agent().write(&written, soon())?;
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    let assigned = bench.vm.pool().lease_of(&disk.id).cloned();

    // What the load writes is what is there.
    let load: Load = load(disk, 3000);
    ensure!(load.extent == written, "the load writes something else");
    let running = bench.vm.agent().start_load(&load, soon())?;
    add_cpu(bench)?;
    let report = running.finish(soon())?;
    ensure!(report.errors == 0 && report.operations > 0, "{report:?}");

    bench.vm.agent().verify(&written, soon())?;
    let now = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    ensure!(
        now == threads,
        "the threads were {threads:?} and are {now:?}"
    );
    ensure!(
        bench.vm.pool().lease_of(&disk.id) == assigned.as_ref(),
        "its lease has changed"
    );
    Ok(())
}

/// Plugs the CPU in that QEMU has room for, and waits until the guest uses it.
fn add_cpu(bench: &Bench) -> Result<()> {
    let qmp = bench.vm.qmp();
    let places = qmp.execute(&raw::QueryHotpluggableCpus(json!({})), soon())?;
    let places = places.as_array().context("no list of CPUs")?;
    // What is plugged in has a path.
    let free = places.iter().find(|cpu| cpu.get("qom-path").is_none());
    let free = free.with_context(|| format!("no room for a CPU: {places:?}"))?;
    let mut device = free["props"].as_object().cloned().unwrap_or_default();
    device.insert("driver".into(), free["type"].clone());
    device.insert("id".into(), CPU.into());
    let since = qmp.cursor();
    qmp.execute(&raw::DeviceAdd(Value::Object(device)), soon())?;
    // The guest's firmware interface reports that its kernel has taken the CPU.
    qmp.wait_event("the guest to take the CPU", since, soon(), |event| {
        let info = event.data.get("info")?;
        let is_it = event.name == "ACPI_DEVICE_OST" && info["device"] == CPU;
        is_it.then(|| info["status"].clone())
    })
    .map_err(anyhow::Error::from)
    .and_then(|status| {
        ensure!(status == 0, "the guest refused the CPU: status {status}");
        Ok(())
    })?;
    let online = "/sys/devices/system/cpu/cpu1/online";
    bench.vm.agent().set_attribute(online, "1", soon())?;
    Ok(())
}
