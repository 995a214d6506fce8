//! The pool's threads are those that the configuration asks for.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::Topology;
use iothread_pool::IoThreadId;
use qmp_client::command::QueryIothreads;

use crate::fixture::{Bench, on_each_machine, shape, soon};

on_each_machine!(
    exist_as_configured,
    are_not_made_unless_asked_for,
    run_where_the_configuration_binds_them,
);

fn exist_as_configured(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
        // QEMU lists them in no particular order.
        let ids: BTreeSet<&str> = threads.iter().map(|thread| thread.id.as_str()).collect();
        let configured = shape(topology)?.threads();
        let wanted: BTreeSet<&str> = configured.iter().map(IoThreadId::as_str).collect();
        ensure!(ids == wanted, "QEMU has {ids:?}, configured are {wanted:?}");
        ensure!(
            threads.iter().all(|thread| thread.poll_max_ns == 0),
            "{threads:?}"
        );
        for thread in threads {
            let task = format!(
                "/proc/{}/task/{}",
                bench.vm.process().pid(),
                thread.thread_id
            );
            ensure!(std::path::Path::new(&task).exists(), "{task} is not there");
        }
        Ok(())
    })
}

fn are_not_made_unless_asked_for(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.iothreads.count = 0;
    let bench = Bench::boot_shape(&shape)?;
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    ensure!(threads.is_empty(), "{threads:?}");
    bench.vm.shutdown()?;
    Ok(())
}

/// Bound to the CPU that this test itself may use, which any host has.
fn run_where_the_configuration_binds_them(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    let allowed = allowed_cpus("/proc/self/status")?;
    let first = allowed.split([',', '-']).next().unwrap_or_default();
    shape.config.iothreads.cpus = vec![first.parse()?];
    Bench::run_shape(&shape, |bench| {
        for thread in bench.vm.qmp().execute(&QueryIothreads {}, soon())? {
            let (process, thread) = (bench.vm.process().pid(), thread.thread_id);
            let bound = allowed_cpus(&format!("/proc/{process}/task/{thread}/status"))?;
            ensure!(bound == first, "thread {thread} may run on {bound}");
        }
        Ok(())
    })
}

/// Reads `Cpus_allowed_list`, such as `0-1`.
fn allowed_cpus(status: &str) -> Result<String> {
    let text = std::fs::read_to_string(status)?;
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(list.context("no Cpus_allowed_list")?.trim().to_owned())
}
