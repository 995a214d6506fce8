//! A disk is detached while the guest uses it.

use anyhow::{Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::qemu::Topology;
use iothread_pool::Placement;

use crate::fixture::{Bench, extent, on_each_machine, record_times, soon};

const DURATION_MS: u64 = 50_000;

on_each_machine!(hot_unplug_under_io);

fn hot_unplug_under_io(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (_, attach) = bench.attach(&disk, &Placement::First)?;
        let load = Load {
            extent: extent(&disk.id, 32 << 20),
            direction: Direction::Write,
            threads: 2,
            cpus: Vec::new(),
            depth: 8,
            block_size: 4096,
            duration_ms: DURATION_MS,
            operations: None,
        };
        let detach;
        let report = {
            let (hotplug, qmp, agent) = bench.vm.parts();
            let running = agent.start_load(&load, soon())?;
            let start = std::time::Instant::now();
            hotplug.detach(qmp, &disk.id, soon())?;
            detach = start.elapsed();
            running.finish(soon())?
        };
        record_times(attach, detach);
        ensure!(report.operations > 0, "{report:?}");
        // Each of the two threads met the end of the disk, and not of its time.
        ensure!(report.errors >= 2, "{report:?}");
        ensure!(report.elapsed_ms < DURATION_MS, "{report:?}");
        bench.still_works()
    })
}
