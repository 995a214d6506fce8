//! CPUs that use each a queue of a disk at once, and the disk's removal meanwhile.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement, VqMapping};
use qmp_client::command::QomGet;

use crate::evidence::{Gained, IDLE, SERVING, during, only};
use crate::fixture::{Bench, extent, on_each_machine, shape, soon};

on_each_machine!(
    one_thread_serves_four_queues_at_once;
    needs (when = crate::fixture::maps_queues):
        four_threads_serve_eight_queues_at_once,
        four_threads_serve_four_queues_at_once,
        two_threads_serve_four_queues_at_once,
);

fn one_thread_serves_four_queues_at_once(topology: Topology) -> Result<()> {
    served(topology, 4, &Placement::Pinned(IoThreadId::indep(2)), &[2])
}

fn four_threads_serve_four_queues_at_once(topology: Topology) -> Result<()> {
    four_threads_serve(topology, 4)
}

fn four_threads_serve_eight_queues_at_once(topology: Topology) -> Result<()> {
    four_threads_serve(topology, 8)
}

fn four_threads_serve(topology: Topology, cpus: u32) -> Result<()> {
    let four = NonZeroUsize::new(4).context("four")?;
    served(topology, cpus, &Placement::Spread(four), &[0, 1, 2, 3])
}

fn two_threads_serve_four_queues_at_once(topology: Topology) -> Result<()> {
    let mapping = VqMapping::explicit(vec![
        (IoThreadId::indep(3), vec![0, 2, 3]),
        (IoThreadId::indep(1), vec![1]),
    ])?;
    served(topology, 4, &Placement::Mapped(mapping), &[1, 3])
}

fn served(topology: Topology, cpus: u32, placement: &Placement, serving: &[usize]) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.vcpus = cpus;
    Bench::run_shape(&shape, |bench| {
        let disk = bench.disk("disk0")?;
        for _ in 0..2 {
            bench.attach(&disk, placement)?;
            let queues = QomGet {
                path: "/machine/peripheral/disk0/virtio-backend",
                property: "num-queues",
            };
            let queues = bench.vm.qmp().execute(&queues, soon())?;
            ensure!(queues == cpus, "it has {queues} queues");
            all_serve(bench, &load(&disk, cpus, SLICE_MS), serving)?;
            comes_off_under_load(bench, &disk, cpus)?;
        }
        bench.still_works()
    })
}

/// Length of a load between two checks of who served.
const SLICE_MS: u64 = 500;

/// From every CPU, and each has a queue of its own.
fn load(disk: &DiskSpec, cpus: u32, duration_ms: u64) -> Load {
    Load {
        extent: extent(&disk.id, 32 << 20),
        direction: Direction::Read,
        threads: cpus,
        cpus: (0..cpus).collect(),
        depth: 8,
        block_size: 4096,
        duration_ms,
        operations: None,
    }
}

/// Loads the disk until these threads have worked, and checks that no other of the pool has.
fn all_serve(bench: &Bench, load: &Load, serving: &[usize]) -> Result<()> {
    let serving: Vec<IoThreadId> = serving.iter().copied().map(IoThreadId::indep).collect();
    let (vm, patience) = (&bench.vm, soon());
    let mut total = Gained::new();
    while !serving
        .iter()
        .all(|thread| total.get(thread) >= Some(&SERVING))
    {
        ensure!(
            !patience.has_passed(),
            "{serving:?} are to serve: {total:?}"
        );
        let gained = during(vm.qmp(), vm.process(), || {
            let running = vm.agent().start_load(load, soon())?;
            let report = running.finish(soon())?;
            ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
            Ok(())
        })?;
        for (thread, ticks) in gained {
            *total.entry(thread).or_default() += ticks;
        }
    }
    match serving.as_slice() {
        [one] => only(one, &total),
        _ => {
            total.retain(|thread, _| !serving.contains(thread));
            ensure!(
                total.values().all(|ticks| *ticks <= IDLE),
                "others worked: {total:?}"
            );
            Ok(())
        }
    }
}

fn comes_off_under_load(bench: &mut Bench, disk: &DiskSpec, cpus: u32) -> Result<()> {
    let (hotplug, qmp, agent) = bench.vm.parts();
    let running = agent.start_load(&load(disk, cpus, 600_000), soon())?;
    hotplug.detach(qmp, &disk.id, soon())?;
    let report = running.finish(soon())?;
    // Each of its threads met the end of the disk.
    ensure!(
        report.operations > 0 && report.errors >= u64::from(cpus),
        "{report:?}"
    );
    Ok(())
}
