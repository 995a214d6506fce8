//! Requests that are no plain reads and writes: flushes, discards, writes of zeroes, unaligned and large ones. That QEMU
//! gets them as such is shown by its counters, its trace, and holes in the image; that the disk's thread serves them by
//! the trace. QEMU counts discards of SCSI disks only.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::guest::pattern;
use guest_vm::guest::protocol::{Extent, RequestCounts};
use guest_vm::qemu::{Topology, Trace, VmSpec};
use iothread_hotplug::{DiskSpec, ScsiController};
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::Qmp;
use qmp_client::command::QueryIothreads;
use rustix::fs::{SeekFrom, seek};
use serde_json::{Value, json};

use crate::devices::scsi;
use crate::fixture::{Bench, extent, on_each_machine, scratch, shape, soon};
use crate::raw;
use crate::regressions::load::load;

on_each_machine!(
    every_kind_of_a_scsi_disk_is_counted,
    every_kind_under_load_while_neighbours_come_and_go,
);

/// The thread that serves, so that none serves by default.
const THREAD: usize = 2;

const QUARTER: u64 = 4 << 20;

/// How often the guest makes its requests, and how long a load goes on meanwhile.
const ROUNDS: u32 = 3;
const LOAD_MS: u64 = 4000;

/// The least size of the largest write, in bytes. The guest splits writes by its limits for a disk.
const LARGE: u64 = 256 << 10;

const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// Events of QEMU's trace.
const WRITE: &str = "virtio_blk_handle_write";
const ZEROES: &str = "bdrv_co_pwrite_zeroes";

fn every_kind_under_load_while_neighbours_come_and_go(topology: Topology) -> Result<()> {
    traced(topology, |bench, trace| {
        let disk = disk(bench)?;
        bench.attach(&disk, &placement())?;
        let extent = extent_of(&disk);
        let before = Counters::of(bench.vm.qmp(), &disk)?;
        let made = beside_neighbours(bench, &disk, &extent)?;
        let counters = Counters::of(bench.vm.qmp(), &disk)?;
        counters.have_flushes(before, made)?;
        let requests = requests_of_the_thread(bench, trace)?;
        has_zeroes(&requests, &extent, made)?;
        has_unaligned_and_large_writes(&requests, made)?;
        is_on_the_host(&disk, &extent)?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn every_kind_of_a_scsi_disk_is_counted(topology: Topology) -> Result<()> {
    traced(topology, |bench, trace| {
        let disk = disk(bench)?;
        let controller = ScsiController::new(DeviceId::new("scsi0")?);
        let (hotplug, qmp, agent) = bench.vm.parts();
        hotplug.attach_controller(qmp, &controller, &placement(), soon())?;
        hotplug.attach_on(qmp, agent, &controller.id, &disk, soon())?;
        let extent = extent_of(&disk);
        let before = Counters::of(qmp, &disk)?;
        let made = agent.make_requests(&extent, soon())?;
        let counters = Counters::of(qmp, &disk)?;
        counters.have_flushes(before, made)?;
        counters.have_discards(before, made)?;
        has_zeroes(&requests_of_the_thread(bench, trace)?, &extent, made)?;
        is_on_the_host(&disk, &extent)?;
        scsi::detach(bench, &disk)?;
        bench.vm.detach(&controller.id)?;
        bench.still_works()
    })
}

/// Runs a case with a VM whose requests are traced to a folder.
fn traced(topology: Topology, case: impl FnOnce(&mut Bench, &Path) -> Result<()>) -> Result<()> {
    let traces = scratch()?;
    let shape = VmSpec {
        trace: Some(Trace::new(traces.path().to_owned(), vec![WRITE, ZEROES])),
        ..shape(topology)?
    };
    Bench::run_shape(&shape, |bench| case(bench, traces.path()))
}

/// A disk of which a discard frees what the image has.
fn disk(bench: &Bench) -> Result<DiskSpec> {
    let mut disk = bench.disk("disk0")?;
    let file = json!({"driver": "file", "filename": disk.path.to_str(), "discard": "unmap"});
    let node = json!({"driver": "raw", "file": file, "discard": "unmap"});
    disk.node = Some(serde_json::from_value(node)?);
    Ok(disk)
}

fn placement() -> Placement {
    Placement::Pinned(IoThreadId::indep(THREAD))
}

/// Behind the extent of the load.
fn extent_of(disk: &DiskSpec) -> Extent {
    Extent {
        offset: 32 << 20,
        ..extent(&disk.id, 4 * QUARTER)
    }
}

/// Makes the requests while the disk is loaded, and disks of the same thread come and go.
fn beside_neighbours(bench: &mut Bench, disk: &DiskSpec, extent: &Extent) -> Result<RequestCounts> {
    let neighbour = bench.disk("neighbour")?;
    let placement = placement();
    let (hotplug, qmp, agent) = bench.vm.parts();
    let running = agent.start_load(&load(disk, LOAD_MS), soon())?;
    let made = std::thread::scope(|scope| -> Result<RequestCounts> {
        let requests = scope.spawn(|| -> Result<RequestCounts> {
            let mut made = RequestCounts::default();
            for _ in 0..ROUNDS {
                let round = agent.make_requests(extent, soon())?;
                made.unaligned_writes += round.unaligned_writes;
                made.flushes += round.flushes;
                made.discards += round.discards;
                made.zero_writes += round.zero_writes;
            }
            Ok(made)
        });
        let mut neighbours = 0;
        while !requests.is_finished() {
            hotplug.attach(qmp, agent, &neighbour, &placement, soon())?;
            hotplug.detach(qmp, &neighbour.id, soon())?;
            neighbours += 1;
        }
        kata_test::measure("neighbours", f64::from(neighbours));
        match requests.join() {
            Ok(made) => made,
            Err(_) => bail!("the thread that asks the agent panicked"),
        }
    })?;
    let report = running.finish(soon())?;
    ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
    Ok(made)
}

/// What QEMU counts for a disk. The load makes none of these.
#[derive(Debug, Clone, Copy)]
struct Counters {
    flushes: u64,
    discards: u64,
    discarded_bytes: u64,
}

impl Counters {
    fn of(qmp: &Qmp, disk: &DiskSpec) -> Result<Self> {
        let all = qmp.execute(&raw::QueryBlockstats(json!({})), soon())?;
        let all = all.as_array().context("no list")?;
        let is_it = |device: &&Value| device["node-name"] == disk.id.as_str();
        let stats = &all.iter().find(is_it).context("no such disk")?["stats"];
        let count = |name: &str| stats[name].as_u64().with_context(|| format!("no {name}"));
        Ok(Self {
            flushes: count("flush_operations")?,
            discards: count("unmap_operations")?,
            discarded_bytes: count("unmap_bytes")?,
        })
    }

    fn have_flushes(self, before: Self, made: RequestCounts) -> Result<()> {
        let flushes = self.flushes - before.flushes;
        ensure!(
            made.flushes > 0 && flushes >= made.flushes,
            "QEMU got {flushes} flushes of {made:?}"
        );
        Ok(())
    }

    /// The guest's kernel can split a discard.
    fn have_discards(self, before: Self, made: RequestCounts) -> Result<()> {
        let discards = self.discards - before.discards;
        let bytes = self.discarded_bytes - before.discarded_bytes;
        ensure!(
            made.discards > 0 && discards >= made.discards && bytes == made.discards * QUARTER,
            "QEMU got {discards} discards of {bytes} bytes, of {made:?}"
        );
        Ok(())
    }
}

/// Returns the traced requests, and checks that the disk's thread took all of them.
fn requests_of_the_thread(bench: &Bench, traces: &Path) -> Result<Vec<String>> {
    let thread = IoThreadId::indep(THREAD);
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    let number = threads.iter().find(|found| found.id == thread.as_str());
    let number = number.context("QEMU has no such thread")?.thread_id;
    let mut requests = Vec::new();
    for entry in fs::read_dir(traces)? {
        let path = entry?.path();
        let is_thread = path.ends_with(number.to_string());
        let text = fs::read_to_string(&path)?;
        let is_request = |line: &&str| line.starts_with(WRITE) || line.starts_with(ZEROES);
        for line in text.lines().filter(is_request) {
            ensure!(is_thread, "{} took {line}", path.display());
            requests.push(line.to_owned());
        }
    }
    Ok(requests)
}

fn has_zeroes(requests: &[String], extent: &Extent, made: RequestCounts) -> Result<()> {
    let start = extent.offset + 3 * QUARTER;
    let mut zeroed = 0;
    for line in requests.iter().filter(|line| line.starts_with(ZEROES)) {
        zeroed += value(line, "bytes")?;
        let offset = value(line, "offset")?;
        ensure!(offset >= start, "zeroes instead of a discard: {line}");
    }
    ensure!(
        made.zero_writes > 0 && zeroed >= made.zero_writes * QUARTER,
        "QEMU wrote {zeroed} bytes of zeroes of {made:?}"
    );
    Ok(())
}

fn has_unaligned_and_large_writes(requests: &[String], made: RequestCounts) -> Result<()> {
    let (mut unaligned, mut largest) = (0, 0);
    for line in requests.iter().filter(|line| line.starts_with(WRITE)) {
        let (sector, sectors) = (value(line, "sector")?, value(line, "nsectors")?);
        unaligned += u64::from(!(sector * SECTOR).is_multiple_of(PAGE));
        largest = largest.max(sectors * SECTOR);
    }
    // One in eight begins at a page by chance, and the load's are all aligned.
    ensure!(
        made.unaligned_writes > 0 && unaligned >= made.unaligned_writes * 3 / 4,
        "QEMU got {unaligned} unaligned writes of {made:?}"
    );
    ensure!(largest >= LARGE, "the largest write had {largest} bytes");
    Ok(())
}

/// Returns the number behind a word in a line of the trace.
fn value(line: &str, word: &str) -> Result<u64> {
    let mut words = line.split(' ').skip_while(|found| *found != word);
    let value = words
        .nth(1)
        .with_context(|| format!("no {word} in {line}"))?;
    Ok(value.parse()?)
}

/// Checks the image: data in the first half, a hole where the guest discarded, and zeroes behind it.
fn is_on_the_host(disk: &DiskSpec, extent: &Extent) -> Result<()> {
    let image = File::open(&disk.path)?;
    let mut half = vec![0; usize::try_from(2 * QUARTER)?];
    image.read_exact_at(&mut half, extent.offset)?;
    let wrong = pattern::first_mismatch(extent.seed, extent.offset, &half);
    ensure!(wrong.is_none(), "the image is wrong at {wrong:?}");
    image.read_exact_at(&mut half, extent.offset + 2 * QUARTER)?;
    ensure!(half.iter().all(|byte| *byte == 0), "the image is not zero");
    // It was written before, and QEMU was asked for zeroes elsewhere only.
    let discarded = extent.offset + 2 * QUARTER;
    let hole = seek(&image, SeekFrom::Hole(discarded))?;
    ensure!(hole == discarded, "the image has data up to {hole}");
    Ok(())
}
