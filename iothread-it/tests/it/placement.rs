//! Each policy's choice is the thread that works, and each queue's thread is the one mapped to it.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::config::IoThreadProperties;
use guest_vm::qemu::Topology;
use iothread_hotplug::Step;
use iothread_pool::{IoThreadId, Placement, VqMapping};
use qmp_client::command::QueryIothreads;

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, on_each_machine, record_thread, shape, soon};

/// An idle thread blocks at once.
fn no_polling() -> IoThreadProperties {
    IoThreadProperties {
        poll_max_ns: Some(0),
        ..IoThreadProperties::default()
    }
}

on_each_machine!(
    policies_choose_the_serving_thread,
    thread_added_at_run_time_serves;
    on every topology: the_configuration_s_policy_is_followed;
    needs (when = crate::fixture::maps_queues):
        queues_spread_over_two_threads,
        queues_mapped_by_name;
    needs (when = crate::fixture::drops_mappings): mapping_is_refused_before_qemu_9_2,
);

/// Four disks, each by another policy: the threads 0 to 3 in order.
fn policies_choose_the_serving_thread(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let policies = [
            Placement::RoundRobin,
            Placement::RoundRobin,
            Placement::LeastLoaded,
            Placement::Dedicated,
        ];
        for (number, policy) in policies.into_iter().enumerate() {
            let disk = bench.disk(&format!("disk{number}"))?;
            let (lease, _) = bench.attach(&disk, &policy)?;
            let thread = IoThreadId::indep(number);
            let state = bench.vm.pool().state();
            ensure!(
                lease.assignment.thread() == Some(&thread),
                "{policy:?}: {state}"
            );
            only(&thread, &under_load(&bench.vm, &disk, 0)?)
                .with_context(|| format!("{policy:?}"))?;
        }
        Ok(())
    })
}

fn the_configuration_s_policy_is_followed(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.iothreads.placement = Placement::RoundRobin;
    Bench::run_shape(&shape, |bench| {
        for number in 0..2 {
            let disk = bench.disk(&format!("disk{number}"))?;
            let held = bench.vm.attach_as_configured(&disk)?;
            let lease = held.lease().context("it is no device of its own")?;
            let thread = IoThreadId::indep(number);
            ensure!(lease.assignment.thread() == Some(&thread), "{lease:?}");
        }
        Ok(())
    })
}

fn spread_over_two() -> Placement {
    Placement::Spread(NonZeroUsize::new(2).expect("two is not zero"))
}

fn mapped_by_name() -> Result<Placement> {
    let mapping = VqMapping::explicit(vec![
        (IoThreadId::indep(3), vec![0]),
        (IoThreadId::indep(1), vec![1]),
    ])?;
    Ok(Placement::Mapped(mapping))
}

fn queues_spread_over_two_threads(topology: Topology) -> Result<()> {
    each_queue_has_its_thread(topology, &spread_over_two(), [0, 1])
}

fn queues_mapped_by_name(topology: Topology) -> Result<()> {
    each_queue_has_its_thread(topology, &mapped_by_name()?, [3, 1])
}

/// The guest has a queue for each CPU, so a load on CPU *n* shows who serves queue *n*.
fn each_queue_has_its_thread(
    topology: Topology,
    placement: &Placement,
    threads: [usize; 2],
) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.vcpus = 2;
    Bench::run_shape(&shape, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, placement)?;
        for (cpu, number) in (0..).zip(threads) {
            let thread = IoThreadId::indep(number);
            only(&thread, &under_load(&bench.vm, &disk, cpu)?)
                .with_context(|| format!("queue {cpu}"))?;
        }
        bench.detach(&disk)?;
        Ok(())
    })
}

/// The main loop would serve then.
fn mapping_is_refused_before_qemu_9_2(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        for placement in [spread_over_two(), mapped_by_name()?] {
            let Err(error) = bench.vm.attach(&disk, &placement) else {
                bail!("QEMU ignores this mapping, but it was accepted: {placement:?}");
            };
            let message = format!("{:#}", anyhow::Error::from(error));
            ensure!(
                message.contains("silently ignores the iothread-vq-mapping"),
                "{message}"
            );
        }
        bench.still_works()
    })
}

fn thread_added_at_run_time_serves(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let (hotplug, qmp, _) = bench.vm.parts();
        let added = hotplug.add_thread(qmp, no_polling())?;
        ensure!(added == IoThreadId::indep(4), "it is called {added}");
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::Pinned(added.clone()))?;
        only(&added, &under_load(&bench.vm, &disk, 0)?)?;
        record_thread(&bench.vm, &added);

        // QEMU would delete it under the disk.
        let (hotplug, qmp, _) = bench.vm.parts();
        let refused = hotplug.remove_thread(qmp, &added).err();
        let refused = refused.context("a busy thread was retired")?.to_string();
        ensure!(refused.contains("still serves disk0"), "{refused}");

        bench.detach(&disk)?;
        let (hotplug, qmp, _) = bench.vm.parts();
        hotplug.remove_thread(qmp, &added)?;
        let threads = qmp.execute(&QueryIothreads {}, soon())?;
        ensure!(
            threads.iter().all(|thread| thread.id != added.as_str()),
            "{threads:?}"
        );
        let gone = bench.vm.attach(&disk, &Placement::Pinned(added.clone()));
        let error = gone.err().context("a retired thread was given out")?;
        ensure!(error.step == Step::Lease, "{error}");
        let (hotplug, qmp, _) = bench.vm.parts();
        ensure!(
            hotplug.add_thread(qmp, no_polling())? == IoThreadId::indep(5),
            "an id was used again"
        );
        Ok(())
    })
}
