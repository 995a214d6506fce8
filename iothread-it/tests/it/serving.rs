//! The thread that serves a disk is the one that works for it: by its CPU time under load.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use iothread_it::config::Machine;
use iothread_it::guest::protocol::{Direction, Load};
use iothread_it::pool::{IoThreadId, Placement};
use iothread_it::qemu::evidence::Ticks;
use iothread_it::qmp::command::QueryIothreads;
use iothread_it::vm::Vm;

use crate::fixture::{Bench, extent, on_each_machine, record_thread, record_times, soon};

/// What a serving thread gains at the least in a load of three seconds. It gains tens; an idle one
/// none, or one for a wake-up.
const SERVING: u64 = 5;
const IDLE: u64 = 1;

on_each_machine!(
    the_first_thread_serves_the_first_disk,
    a_pinned_thread_serves_its_disk,
    no_thread_of_the_pool_serves_a_disk_of_the_main_loop,
);

fn the_first_thread_serves_the_first_disk(machine: Machine) -> Result<()> {
    one_thread_serves(machine, &Placement::First, 0)
}

fn a_pinned_thread_serves_its_disk(machine: Machine) -> Result<()> {
    one_thread_serves(machine, &Placement::Pinned(IoThreadId::indep(2)), 2)
}

fn no_thread_of_the_pool_serves_a_disk_of_the_main_loop(machine: Machine) -> Result<()> {
    Bench::run(machine, |bench| {
        let gained = under_load(bench, &Placement::MainLoop)?;
        ensure!(
            gained.values().all(|ticks| *ticks == 0),
            "ticks gained: {gained:?}"
        );
        Ok(())
    })
}

fn one_thread_serves(machine: Machine, placement: &Placement, number: usize) -> Result<()> {
    Bench::run(machine, |bench| {
        let gained = under_load(bench, placement)?;
        let serving = IoThreadId::indep(number);
        for (thread, ticks) in &gained {
            let right = if *thread == serving {
                *ticks >= SERVING
            } else {
                *ticks <= IDLE
            };
            ensure!(right, "{serving} is to serve; ticks gained: {gained:?}");
        }
        record_thread(&bench.vm, &serving);
        Ok(())
    })
}

/// Loads a disk for three seconds and returns what each thread of the pool gained.
fn under_load(bench: &mut Bench, placement: &Placement) -> Result<BTreeMap<IoThreadId, u64>> {
    let disk = bench.disk("disk0")?;
    let (_, attach) = bench.attach(&disk, placement)?;
    let before = ticks(&bench.vm)?;
    let load = Load {
        extent: extent(&disk.id, 32 << 20),
        direction: Direction::Read,
        threads: 1,
        cpus: vec![0],
        depth: 8,
        block_size: 4096,
        duration_ms: 3000,
        operations: None,
    };
    let report = bench.vm.agent().start_load(&load, soon())?.finish(soon())?;
    let after = ticks(&bench.vm)?;
    ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
    kata_test::measure("operations", report.operations as f64);
    let detach = bench.detach(&disk)?;
    record_times(attach, detach);
    Ok(after
        .into_iter()
        .map(|(thread, ticks)| {
            let gained = ticks.since(before[&thread]);
            (thread, gained)
        })
        .collect())
}

fn ticks(vm: &Vm) -> Result<BTreeMap<IoThreadId, Ticks>> {
    let threads = vm.qmp().execute(&QueryIothreads {}, soon())?;
    threads
        .into_iter()
        .map(|thread| {
            let ticks = Ticks::of(vm.process(), thread.thread_id)?;
            Ok((IoThreadId::new(thread.id)?, ticks))
        })
        .collect()
}
