//! Who serves, shown in three ways at once: what QEMU was configured with, the CPU time of each thread, and
//! QEMU's own trace of who took the requests. A disk of the main loop is the negative control.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::Topology;
use iothread_pool::{IoThreadId, Placement, VqMapping};

use crate::evidence::three_ways;
use crate::fixture::{Bench, on_each_machine, shape};

on_each_machine!(
    for_each_policy;
    needs (when = crate::fixture::maps_queues): for_each_queue_of_a_mapped_disk,
);

/// Beside a disk of the first thread, so that the policies choose differently.
fn for_each_policy(topology: Topology) -> Result<()> {
    Bench::run_traced(&shape(topology)?, |bench, trace| {
        let other = bench.disk("other")?;
        bench.attach(&other, &Placement::First)?;
        let policies = [
            (Placement::First, Some(0)),
            (Placement::RoundRobin, Some(0)),
            (Placement::RoundRobin, Some(1)),
            (Placement::LeastLoaded, Some(1)),
            (Placement::Dedicated, Some(1)),
            (Placement::Pinned(IoThreadId::indep(3)), Some(3)),
            (Placement::MainLoop, None),
        ];
        for (policy, number) in policies {
            let disk = bench.disk("disk0")?;
            let (lease, _) = bench.attach(&disk, &policy)?;
            let chosen = lease.assignment.thread();
            ensure!(
                chosen == number.map(IoThreadId::indep).as_ref(),
                "{lease:?}"
            );
            three_ways(&bench.vm, trace, &disk, &lease, 0)
                .with_context(|| format!("{policy:?}"))?;
            bench.detach(&disk)?;
        }
        Ok(())
    })
}

/// The guest has a queue for each CPU, so a load on CPU *n* shows who serves queue *n*. (That an
/// older QEMU is refused `placement` shows.)
fn for_each_queue_of_a_mapped_disk(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.vcpus = 2;
    let named = VqMapping::explicit(vec![
        (IoThreadId::indep(3), vec![0]),
        (IoThreadId::indep(1), vec![1]),
    ])?;
    let two = NonZeroUsize::new(2).context("two is not zero")?;
    Bench::run_traced(&shape, |bench, trace| {
        for placement in [Placement::Spread(two), Placement::Mapped(named)] {
            let disk = bench.disk("disk0")?;
            let (lease, _) = bench.attach(&disk, &placement)?;
            for queue in [0, 1] {
                three_ways(&bench.vm, trace, &disk, &lease, queue)
                    .with_context(|| format!("queue {queue} with {placement:?}"))?;
            }
            bench.detach(&disk)?;
        }
        Ok(())
    })
}
