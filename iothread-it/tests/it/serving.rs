//! The thread that serves a disk is the one that works for it: by its CPU time under load.

use anyhow::Result;
use guest_vm::qemu::Topology;
use iothread_pool::{IoThreadId, Placement};

use crate::evidence::{Gained, none, only, under_load};
use crate::fixture::{Bench, on_each_machine, record_thread, record_times};

on_each_machine!(
    the_first_thread_serves_the_first_disk,
    no_thread_of_the_pool_serves_a_disk_of_the_main_loop;
    on every topology: a_pinned_thread_serves_its_disk,
);

fn the_first_thread_serves_the_first_disk(topology: Topology) -> Result<()> {
    one_thread_serves(topology, &Placement::First, 0)
}

fn a_pinned_thread_serves_its_disk(topology: Topology) -> Result<()> {
    one_thread_serves(topology, &Placement::Pinned(IoThreadId::indep(2)), 2)
}

fn no_thread_of_the_pool_serves_a_disk_of_the_main_loop(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        none(&loaded(bench, &Placement::MainLoop)?)
    })
}

fn one_thread_serves(topology: Topology, placement: &Placement, number: usize) -> Result<()> {
    Bench::run(topology, |bench| {
        let gained = loaded(bench, placement)?;
        let serving = IoThreadId::indep(number);
        only(&serving, &gained)?;
        record_thread(&bench.vm, &serving);
        Ok(())
    })
}

/// Attaches a disk, loads it and detaches it.
fn loaded(bench: &mut Bench, placement: &Placement) -> Result<Gained> {
    let disk = bench.disk("disk0")?;
    let (_, attach) = bench.attach(&disk, placement)?;
    let gained = under_load(&bench.vm, &disk, 0)?;
    let detach = bench.detach(&disk)?;
    record_times(attach, detach);
    Ok(gained)
}
