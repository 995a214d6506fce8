//! A slot and a thread come back with every detach.
//!
//! Kata's Rust runtime never clears a slot and writes its address in decimal: the 20th hot-plugged
//! disk of a VM fails there, whatever the number of bridges.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use iothread_it::config::Machine;
use iothread_it::pool::Placement;

use crate::fixture::{Bench, extent, on_each_machine, record_times, soon};

const CYCLES: usize = 40;

on_each_machine!(forty_in_one_vm);

fn forty_in_one_vm(machine: Machine) -> Result<()> {
    Bench::run(machine, |bench| {
        let disk = bench.disk("disk0")?;
        let extent = extent(&disk.id, 64 << 10);
        let free_slots = bench.vm.pool().free_slots();
        let nodes = bench.nodes()?;
        let mut attached = Vec::with_capacity(CYCLES);
        let mut detached = Vec::with_capacity(CYCLES);
        for cycle in 1..=CYCLES {
            let context = || format!("cycle {cycle} of {CYCLES}");
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
