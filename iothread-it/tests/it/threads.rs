//! The pool has the threads of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;

use anyhow::{Context, Result, ensure};
use guest_vm::config::CpuList;
use guest_vm::qemu::{OnThreadStarted, Topology};
use iothread_pool::IoThreadId;
use kata_test::kata_test;
use qmp_client::command::{
    IoThreadObject, IoThreadProperties, QomGet, QueryIothreads, object_path, set_property,
};

use crate::bare::Bare;
use crate::fixture::{Bench, on_each_machine, shape, soon};

on_each_machine!(
    exist_as_configured,
    are_not_created_by_default;
    // With one CPU, every thread is bound to it.
    needs (when = crate::fixture::qemu_and_guest, cpus_ge = 2):
        run_where_the_configuration_binds_them,
);

/// Also the number of worker threads, whose minimum QEMU compares with the maximum at each change.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn properties_change_while_qemu_runs() -> Result<()> {
    let qemu = Bare::start(&["-machine", "q35"])?;
    let pool = |min, max| IoThreadProperties {
        thread_pool_min: Some(min),
        thread_pool_max: Some(max),
        ..IoThreadProperties::default()
    };
    qemu.qmp
        .execute(&IoThreadObject::new("t", pool(3, 5)), soon())?;
    let path = object_path("t");
    let read = |property: &str| {
        let property = QomGet {
            path: &path,
            property,
        };
        let value = qemu.qmp.execute(&property, soon())?;
        value.as_u64().context("it is no number")
    };
    let more = IoThreadProperties {
        poll_max_ns: Some(7),
        poll_grow: Some(2),
        poll_shrink: Some(3),
        aio_max_batch: Some(16),
        ..pool(6, 9)
    };
    for properties in [more, pool(1, 2), pool(64, 64)] {
        for change in properties.changes(read("thread-pool-min")?) {
            qemu.qmp.execute(&set_property(&path, change), soon())?;
        }
        for (property, expected) in properties.iter() {
            let value = read(property)?;
            ensure!(value == expected, "{property} is {value}, not {expected}");
        }
    }
    qemu.quit()
}

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

fn are_not_created_by_default(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.iothreads.count = 0;
    let bench = Bench::boot_shape(&shape)?;
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    ensure!(threads.is_empty(), "{threads:?}");
    bench.vm.shutdown()?;
    Ok(())
}

/// In turn on two of the CPUs that this test itself may use; also one that is added later, after
/// another was removed.
fn run_where_the_configuration_binds_them(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    let allowed: CpuList = allowed_cpus("/proc/self/status")?.parse()?;
    let cpus: Vec<String> = allowed.iter().take(2).map(|cpu| cpu.to_string()).collect();
    ensure!(cpus.len() == 2, "{allowed}");
    shape.config.iothreads.cpus = cpus
        .iter()
        .map(|cpu| Ok(cpu.parse()?))
        .collect::<Result<_>>()?;
    let (started, starts) = channel();
    shape.on_thread_started = Some(OnThreadStarted::new(move |thread, tid| {
        let sent = started.send((thread.clone(), tid));
        sent.map_err(std::io::Error::other)
    }));
    Bench::run_shape(&shape, |bench| {
        let added = bench.vm.add_thread()?;
        ensure!(added == IoThreadId::indep(4), "it is called {added}");
        let (hotplug, qmp, _) = bench.vm.parts();
        hotplug.remove_thread(qmp, &IoThreadId::indep(1))?;
        let added = bench.vm.add_thread()?;
        ensure!(added == IoThreadId::indep(5), "it is called {added}");
        let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
        // The hook was called with each thread, before it could serve anything.
        let started: BTreeMap<_, _> = starts.try_iter().collect();
        ensure!(started.len() == 6, "{started:?}");
        for id in bench.vm.pool().threads() {
            let number = id.indep_number().context("an id without a number")?;
            let configured = &cpus[usize::try_from(number)? % 2];
            let thread = threads.iter().find(|thread| thread.id == id.as_str());
            let thread = thread.with_context(|| format!("QEMU has no {id}"))?;
            ensure!(thread.poll_max_ns == 0, "{thread:?}");
            let (process, number) = (bench.vm.process().pid(), thread.thread_id);
            ensure!(started.get(id) == Some(&number), "{id}: {started:?}");
            let bound = allowed_cpus(&format!("/proc/{process}/task/{number}/status"))?;
            ensure!(
                bound == *configured,
                "{id} may run on {bound}, not on {configured}"
            );
        }
        // What a thread starts for `aio=threads` inherits its CPUs; the main loop has workers too.
        bench.still_works()?;
        let process = bench.vm.process().pid();
        let mut workers = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() == "worker" {
                workers.push(allowed_cpus(&task.join("status").to_string_lossy())?);
            }
        }
        ensure!(workers.contains(&cpus[0]), "{workers:?}");
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
