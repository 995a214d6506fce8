//! A slot and a thread come back with every detach.
//!
//! Kata's Rust runtime never clears a slot and writes its address in decimal: the 20th hot-plugged
//! disk of a VM fails there, with any number of bridges.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::Topology;
use iothread_pool::Placement;

use crate::fixture::{Bench, extent, on_each_machine, record_times, soon};

/// Past the 20th. Native hotplug takes six seconds for each, and its two show that a second one works.
fn cycles(topology: Topology) -> usize {
    match topology {
        Topology::Q35Native => 2,
        Topology::Q35 | Topology::Pc | Topology::Q35Bridge => 40,
    }
}

on_each_machine!(; on every topology: many_in_one_vm);

fn many_in_one_vm(topology: Topology) -> Result<()> {
    let cycles = cycles(topology);
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let extent = extent(&disk.id, 64 << 10);
        let free_slots = bench.vm.pool().free_slots();
        let nodes = bench.nodes()?;
        let mut attached = Vec::with_capacity(cycles);
        let mut detached = Vec::with_capacity(cycles);
        for cycle in 1..=cycles {
            let context = || format!("cycle {cycle} of {cycles}");
            let (_, took) = bench
                .attach(&disk, &Placement::First)
                .with_context(context)?;
            attached.push(took);
            match cycle {
                1 => bench.vm.agent().write(&extent, soon())?,
                _ => bench
                    .vm
                    .agent()
                    .verify(&extent, soon())
                    .with_context(context)?,
            };
            detached.push(bench.detach(&disk).with_context(context)?);
        }
        ensure!(bench.vm.pool().free_slots() == free_slots, "a slot is lost");
        ensure!(bench.nodes()? == nodes, "QEMU has {:?}", bench.nodes()?);
        record_times(median(attached), median(detached));
        Ok(())
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
