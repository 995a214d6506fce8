//! Threads that poll, as QEMU's and Kata's do by default. In the other cases an idle thread sleeps, so
//! that CPU time shows which one worked.

use anyhow::{Result, ensure};
use guest_vm::config::IoThreadProperties;
use guest_vm::qemu::Topology;
use iothread_pool::{IoThreadId, Placement};
use qmp_client::command::{QomGet, QueryIothreads, object_path, set_property};

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, extent, on_each_machine, shape, soon};
use crate::regressions::load::{self, is_idle, load};

on_each_machine!(
    hotplug_beside_a_loaded_disk,
    properties_of_a_loaded_thread_are_changed,
);

fn hotplug_beside_a_loaded_disk(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.iothreads.properties = IoThreadProperties::default();
    Bench::run_shape(&shape, |bench| {
        let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
        ensure!(
            threads.iter().all(|thread| thread.poll_max_ns > 0),
            "no thread is to be without polling: {threads:?}"
        );
        let thread = IoThreadId::indep(0);
        let (disk, neighbour) = (bench.disk("disk0")?, bench.disk("disk1")?);
        bench.attach(&disk, &Placement::First)?;
        only(&thread, &under_load(&bench.vm, &disk, 0)?)?;
        load::under_load(bench, &disk, |hotplug, qmp, agent| {
            for _ in 0..5 {
                hotplug.attach(qmp, agent, &neighbour, &Placement::First, soon())?;
                hotplug.detach(qmp, &neighbour.id, soon())?;
            }
            Ok(())
        })?;
        let extent = extent(&disk.id, 1 << 20);
        bench.vm.agent().write(&extent, soon())?;
        bench.vm.agent().verify(&extent, soon())?;
        // Polling ends with the requests.
        is_idle(bench, &thread)?;

        let (hotplug, qmp, agent) = bench.vm.parts();
        let running = agent.start_load(&load(&disk, 600_000), soon())?;
        hotplug.detach(qmp, &disk.id, soon())?;
        let report = running.finish(soon())?;
        ensure!(report.operations > 0 && report.errors > 0, "{report:?}");
        is_idle(bench, &thread)?;
        bench.still_works()
    })
}

/// Polling, batches and worker threads of a thread while its disk is loaded and a neighbour comes and goes.
fn properties_of_a_loaded_thread_are_changed(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let thread = IoThreadId::indep(0);
        let path = object_path(thread.as_str());
        let (disk, neighbour) = (bench.disk("disk0")?, bench.disk("disk1")?);
        bench.attach(&disk, &Placement::First)?;
        let changes = [
            ("poll-max-ns", 32_768),
            ("poll-grow", 4),
            ("poll-shrink", 2),
            ("aio-max-batch", 1),
            ("thread-pool-max", 1),
            ("aio-max-batch", 0),
            ("thread-pool-max", 64),
            ("thread-pool-min", 8),
            ("thread-pool-min", 0),
            ("poll-max-ns", 0),
        ];
        load::under_load(bench, &disk, |hotplug, qmp, agent| {
            for (turn, change) in changes.into_iter().enumerate() {
                qmp.execute(&set_property(&path, change), soon())?;
                match turn % 2 {
                    0 => drop(hotplug.attach(qmp, agent, &neighbour, &Placement::First, soon())?),
                    _ => hotplug.detach(qmp, &neighbour.id, soon())?,
                }
            }
            Ok(())
        })?;
        for (property, expected) in [
            ("poll-grow", 4),
            ("poll-shrink", 2),
            ("thread-pool-max", 64),
        ] {
            let value = QomGet {
                path: &path,
                property,
            };
            let value = bench.vm.qmp().execute(&value, soon())?;
            ensure!(value == expected, "{property} is {value}");
        }
        only(&thread, &under_load(&bench.vm, &disk, 0)?)?;
        let extent = extent(&disk.id, 1 << 20);
        bench.vm.agent().write(&extent, soon())?;
        bench.vm.agent().verify(&extent, soon())?;
        is_idle(bench, &thread)?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}
