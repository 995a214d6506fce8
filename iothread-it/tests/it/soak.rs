//! Many attaches and detaches in one VM leave no trace: `cargo xtask it --soak`.
//!
//! A neighbour on the same thread writes and verifies all the while. Each disk is detached while it
//! is written to, and only what was started after the removal began may fail: what was completed
//! is on the host.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::guest::protocol::{Direction, Extent, Load, LoadReport};
use guest_vm::guest::{Agent, pattern};
use guest_vm::process::ProcessId;
use guest_vm::qemu::Topology;
use guest_vm::vm::Vm;
use iothread_hotplug::DiskSpec;
use iothread_hotplug::blocking::Hotplug;
use iothread_pool::Placement;
use qmp_client::Qmp;

use crate::fixture::{Bench, cases, extent, shape, soon};

cases!(q35 Q35 many_cycles_leak_nothing);

/// The variable that says how many.
const CYCLES_ENV: &str = "IOTHREAD_IT_SOAK";

/// Default number of cycles.
const CYCLES: usize = 60;

/// After the warm-up QEMU's private memory may grow by GROWTH KiB a cycle, and by FLUCTUATION KiB for
/// threads that are active during the measurement.
const WARM_UP_CYCLES: usize = 20;
const GROWTH: u64 = 8;
const FLUCTUATION: u64 = 2048;

/// A mapping of this size or larger is guest memory or the buffer of translated code.
const MIN_GUEST_MAPPING_KIB: u64 = 128 << 10;

const BLOCK: u32 = 4096;
const EXTENT: u64 = 8 << 20;

/// Interval of progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long QEMU's workers may stay after their last request. They go after ten seconds.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(60);

fn many_cycles_leak_nothing(topology: Topology) -> Result<()> {
    let cycles = match std::env::var(CYCLES_ENV) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{CYCLES_ENV} is {text}"))?,
        Err(_) => CYCLES,
    };
    // A guest that booted has touched the memory that it uses. A restored one touches it bit by bit,
    // which would look like a leak of QEMU's.
    let vm = Vm::boot(&Manifest::find()?, &shape(topology)?)?;
    Bench::run_with(vm, |bench| {
        let qemu = bench.vm.process();
        let start = Footprint::of(qemu)?;
        let neighbour = bench.disk("neighbour")?;
        bench.attach(&neighbour, &Placement::First)?;
        let disk = bench.disk("disk0")?;
        let (hotplug, qmp, agent) = bench.vm.parts();
        let done = AtomicBool::new(false);
        let (warm, rounds) = std::thread::scope(|scope| -> Result<_> {
            let working = scope.spawn(|| keep_verifying(agent, &neighbour, &done));
            let mut soak = Soak {
                hotplug,
                qmp,
                agent,
                disk: &disk,
                qemu,
            };
            let warm = soak.run(cycles, || !working.is_finished());
            done.store(true, Ordering::Relaxed);
            let rounds = working.join().expect("the neighbour does not panic");
            Ok((warm?, rounds.context("the neighbour failed")?))
        })?;
        ensure!(rounds > 0, "the neighbour did nothing");
        bench.vm.detach(&neighbour.id)?;
        let end = start.came_back(qemu)?;
        if let Some(warm) = warm {
            let limit = warm.own + FLUCTUATION + GROWTH * (cycles - WARM_UP_CYCLES) as u64;
            println!("QEMU's own memory: {} KiB, then {} KiB", warm.own, end.own);
            ensure!(
                end.own <= limit,
                "QEMU used {} KiB of private memory after cycle {WARM_UP_CYCLES} and {} \
                 after {cycles}; the limit is {limit}",
                warm.own,
                end.own
            );
        }
        println!("the neighbour wrote and verified {rounds} times");
        kata_test::measure("cycles", cycles as f64);
        bench.still_works()
    })
}

/// Writes and reads back, with another pattern each time, until the rest is done.
fn keep_verifying(agent: &Agent, disk: &DiskSpec, done: &AtomicBool) -> Result<u64> {
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        let extent = Extent {
            seed: rounds,
            ..extent(&disk.id, 256 << 10)
        };
        agent.write(&extent, soon())?;
        agent.verify(&extent, soon())?;
        rounds += 1;
    }
    Ok(rounds)
}

struct Soak<'a> {
    hotplug: &'a mut Hotplug,
    qmp: &'a Qmp,
    agent: &'a Agent,
    disk: &'a DiskSpec,
    qemu: ProcessId,
}

impl Soak<'_> {
    /// Returns what QEMU had once it was warm, if it came to that.
    fn run(&mut self, cycles: usize, goes_on: impl Fn() -> bool) -> Result<Option<Footprint>> {
        let start = Instant::now();
        let (mut reported, mut warm) = (start, None);
        for cycle in 1..=cycles {
            self.cycle(cycle)
                .with_context(|| format!("cycle {cycle} of {cycles}"))?;
            ensure!(goes_on(), "the neighbour ended in cycle {cycle}");
            if cycle == WARM_UP_CYCLES {
                warm = Some(Footprint::of(self.qemu)?);
            }
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                let rate = cycle as f64 / start.elapsed().as_secs_f64();
                let now = Footprint::of(self.qemu)?;
                println!("{cycle} of {cycles} cycles, {rate:.1} a second; QEMU has {now}");
            }
        }
        Ok(warm)
    }

    fn cycle(&mut self, cycle: usize) -> Result<()> {
        let disk = self.disk;
        let placement = Placement::First;
        self.hotplug
            .attach(self.qmp, self.agent, disk, &placement, soon())?;
        let load = Load {
            extent: Extent {
                // Nothing of an earlier cycle counts for this one.
                seed: 0x50a0_0000 + cycle as u64,
                ..extent(&disk.id, EXTENT)
            },
            direction: Direction::Write,
            // One thread writes block after block, so what is there can be counted.
            threads: 1,
            cpus: Vec::new(),
            depth: 8,
            block_size: BLOCK,
            duration_ms: 600_000,
            operations: None,
        };
        let running = self.agent.start_load(&load, soon())?;
        let asked = Instant::now();
        self.hotplug.detach(self.qmp, &disk.id, soon())?;
        let report = running.finish(soon())?;
        failed_late(&report, asked.elapsed())?;
        persisted(&report, &load.extent, &File::open(&disk.path)?)
    }
}

/// Nothing failed that was started before the guest was asked for the disk. Both clocks run alike,
/// though neither is compared with the other.
fn failed_late(report: &LoadReport, since_asked: Duration) -> Result<()> {
    let Some(failed_for) = report.failed_for_ms else {
        bail!("the load did not meet the end of its disk: {report:?}");
    };
    ensure!(
        u128::from(failed_for) <= since_asked.as_millis(),
        "the guest was asked {since_asked:?} ago, and what was started {failed_for} ms ago failed: \
         {report:?}"
    );
    Ok(())
}

/// What was completed is there.
fn persisted(report: &LoadReport, extent: &Extent, image: &File) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(extent.length)?];
    image.read_exact_at(&mut bytes, extent.offset)?;
    let there = (extent.offset..)
        .step_by(BLOCK as usize)
        .zip(bytes.chunks(BLOCK as usize))
        .filter(|(offset, block)| pattern::first_mismatch(extent.seed, *offset, block).is_none())
        .count() as u64;
    // A load that came round wrote the same again, but for those that failed.
    let blocks = extent.length / u64::from(BLOCK);
    let completed = report.operations.min(blocks.saturating_sub(report.errors));
    ensure!(
        there >= completed && completed > 0,
        "{completed} blocks were written, {there} are there: {report:?}"
    );
    Ok(())
}

/// What a process has of the host.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    descriptors: usize,
    threads: usize,
    /// In KiB, without what it has for the guest.
    own: u64,
}

impl Footprint {
    fn of(process: ProcessId) -> Result<Self> {
        let folder = format!("/proc/{}", process.pid());
        let count = |name: &str| -> Result<usize> {
            Ok(std::fs::read_dir(format!("{folder}/{name}"))?.count())
        };
        let maps = std::fs::read_to_string(format!("{folder}/smaps"))?;
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            own: own_memory(&maps)?,
        })
    }

    /// Waits until a process has no more descriptors and threads than this. No event tells that
    /// another process's thread has ended.
    fn came_back(self, process: ProcessId) -> Result<Self> {
        let start = Instant::now();
        loop {
            let now = Self::of(process)?;
            if now.descriptors <= self.descriptors && now.threads <= self.threads {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < WORKERS_TIMEOUT,
                "QEMU had {self}, and has {now} after {WORKERS_TIMEOUT:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            descriptors,
            threads,
            own,
        } = self;
        write!(
            f,
            "{descriptors} descriptors, {threads} threads, {own} KiB of private memory"
        )
    }
}

/// Adds up what is resident of a process's mappings, but for the guest's memory and the code that is
/// translated for it: those fill bit by bit, and hide what leaks.
fn own_memory(smaps: &str) -> Result<u64> {
    let (mut own, mut counts) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        match key {
            "Size:" => counts = counts || value.parse::<u64>()? < MIN_GUEST_MAPPING_KIB,
            "Rss:" if counts => own += value.parse::<u64>()?,
            // A mapping's first line: its range, and at the end its name.
            _ if !key.ends_with(':') => counts = line.ends_with("[heap]"),
            _ => {}
        }
    }
    ensure!(own > 0, "no mapping in {smaps}");
    Ok(own)
}

#[kata_test::kata_test]
fn guest_memory_is_not_counted_as_qemu_memory() -> Result<()> {
    let map = |name: &str, size: u64, rss: u64| {
        format!(
            "7f00-7f10 rw-p 00000000 00:00 0 {name}\nSize: {size} kB\nRss: {rss} kB\nPss: 1 kB\n"
        )
    };
    let own = map("[heap]", 1 << 20, 1)
        + &map("", MIN_GUEST_MAPPING_KIB - 4, 10)
        + &map("/lib", 100, 100);
    let guest = map("", MIN_GUEST_MAPPING_KIB, 1000) + &map("/memfd:ram", 1 << 20, 1000);
    ensure!(own_memory(&(own + &guest))? == 111);
    Ok(())
}
