//! What was written before a detach is there after the next attach, and on the host in between.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use guest_vm::guest::pattern;
use guest_vm::guest::protocol::Extent;
use guest_vm::qemu::Topology;
use iothread_pool::Placement;

use crate::fixture::{Bench, extent, on_each_machine, record_times, soon};

const LENGTH: u64 = 4 << 20;

on_each_machine!(survives_a_detach);

fn survives_a_detach(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let extent = Extent {
            offset: 1 << 20,
            ..extent(&disk.id, LENGTH)
        };
        let (_, attach) = bench.attach(&disk, &Placement::First)?;
        let written = bench.vm.agent().write(&extent, soon())?;
        let detach = bench.detach(&disk)?;
        record_times(attach, detach);

        let mut on_host = vec![0; usize::try_from(LENGTH)?];
        File::open(&disk.path)?.read_exact_at(&mut on_host, extent.offset)?;
        let wrong = pattern::first_mismatch(extent.seed, extent.offset, &on_host);
        ensure!(wrong.is_none(), "the image is wrong at {wrong:?}");

        bench.attach(&disk, &Placement::First)?;
        let read = bench.vm.agent().verify(&extent, soon())?;
        ensure!(read == written, "written {written}, read {read}");
        bench.detach(&disk)?;
        Ok(())
    })
}
