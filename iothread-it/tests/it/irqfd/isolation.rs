//! Whether a busy main loop slows down a disk on an IOThread, if interrupts do not cross it. A disk of the main
//! loop is the contrast. The same CPU time spent elsewhere is the control: on few CPUs a busy thread slows down all
//! others, whatever it does. Rows are compared with themselves, round by round, since machines change their speed.
//!
//! The figures become a table of `cargo xtask it --nested`: a measure is named `ROW | COLUMN`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use guest_vm::qemu::Topology;
use guest_vm::qemu::cpu_time::CpuTicks;
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement};
use qmp_client::command::HumanMonitorCommand;

use super::blocked::while_blocked;
use super::counts::{load, wake_ups};
use super::without_irqfd;
use crate::fixture::{Bench, shape, soon};

/// How often each figure is measured, in turn with the others.
const ROUNDS: usize = 9;

const RUN: Duration = Duration::from_millis(600);

/// What else happens while a disk is loaded.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    /// Commands of the monitor keep the main loop busy.
    MainLoop,
    /// A thread of this process computes.
    OtherThread,
    /// The main loop is blocked, and uses no CPU time.
    Blocked,
}

const BESIDE: [(Beside, &str); 4] = [
    (Beside::Nothing, "idle"),
    (Beside::MainLoop, "main loop busy"),
    (Beside::OtherThread, "other thread busy"),
    (Beside::Blocked, "main loop blocked"),
];

/// A disk that is measured.
struct Row<'a> {
    name: &'static str,
    bench: &'a Bench,
    disk: &'a DiskSpec,
}

/// What one load came to.
struct Sample {
    iops: f64,
    p99_ms: f64,
    wake_ups_per_request: f64,
    /// The CPU time of the main loop, in percent of one CPU.
    main_loop_percent: f64,
}

pub(super) fn table_with_and_without_irqfd(topology: Topology) -> Result<()> {
    let with = shape(topology)?;
    Bench::run_shape(&without_irqfd(with.clone()), |without| {
        Bench::run_shape(&with, |with| measured(with, without))
    })
}

fn measured(with: &mut Bench, without: &mut Bench) -> Result<()> {
    let [on_main, on_thread] = [with.disk("main")?, with.disk("thread")?];
    let crossing = without.disk("crossing")?;
    let pinned = Placement::Pinned(IoThreadId::indep(0));
    with.attach(&on_main, &Placement::MainLoop)?;
    with.attach(&on_thread, &pinned)?;
    without.attach(&crossing, &pinned)?;
    let rows = [
        ("on the main loop", &*with, &on_main),
        ("on a thread, with irqfd", &*with, &on_thread),
        ("on a thread, without irqfd", &*without, &crossing),
    ];
    let rows = rows.map(|(name, bench, disk)| Row { name, bench, disk });
    let mut samples = rows.each_ref().map(|_| BESIDE.map(|_| Vec::new()));
    for _ in 0..ROUNDS {
        for (row, samples) in rows.iter().zip(&mut samples) {
            for ((beside, _), samples) in BESIDE.iter().zip(samples) {
                samples.push(row.sample(*beside)?);
            }
        }
    }
    for (row, samples) in rows.iter().zip(&samples) {
        for ((_, beside), of_this) in BESIDE.iter().zip(samples) {
            record(&format!("{}, {beside}", row.name), of_this, &samples[0]);
        }
    }
    are_what_they_are_called(&samples)
}

/// Checks that the monitor kept the main loop busy, and that interrupts bypassed it with irqfd only.
fn are_what_they_are_called([_, with, without]: &[[Vec<Sample>; BESIDE.len()]; 3]) -> Result<()> {
    let wake_ups = |samples: &[Sample]| median(samples, |sample| sample.wake_ups_per_request);
    let [with_irqfd, without_irqfd] = [with, without].map(|row| wake_ups(&row[0]));
    ensure!(
        with_irqfd * 3.0 < without_irqfd,
        "wake-ups of the main loop a request: {with_irqfd} with irqfd, {without_irqfd} without"
    );
    let percent = |samples: &[Sample]| median(samples, |sample| sample.main_loop_percent);
    let [idle, busy] = [0, 1].map(|beside: usize| percent(&with[beside]));
    ensure!(
        busy > 2.0 * idle,
        "the main loop used {busy} % of a CPU while it was busy, and {idle} % while it was idle"
    );
    Ok(())
}

impl Row<'_> {
    fn sample(&self, beside: Beside) -> Result<Sample> {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| self.until(&ended, beside));
            let sample = self.load(matches!(beside, Beside::Blocked));
            ended.store(true, Ordering::Relaxed);
            work.join().expect("it does not panic")?;
            sample
        })
    }

    /// Does other work until the load has ended.
    fn until(&self, ended: &AtomicBool, beside: Beside) -> Result<()> {
        let tree = HumanMonitorCommand {
            command_line: "info qtree",
        };
        while !ended.load(Ordering::Relaxed) {
            match beside {
                Beside::Nothing | Beside::Blocked => return Ok(()),
                Beside::MainLoop => drop(self.bench.vm.qmp().execute(&tree, soon())?),
                Beside::OtherThread => std::hint::spin_loop(),
            }
        }
        Ok(())
    }

    fn load(&self, blocked: bool) -> Result<Sample> {
        let (vm, qemu) = (&self.bench.vm, self.bench.vm.process());
        let load = load(&self.disk.id, u64::try_from(RUN.as_millis())?, None);
        let main_loop = || CpuTicks::of(qemu, qemu.pid());
        let (start, ticks, sleeps) = (Instant::now(), main_loop()?, wake_ups(qemu)?);
        let running = vm.agent().start_load(&load, soon())?;
        if blocked {
            while_blocked(vm, &self.bench.path("pipe"), || {
                // The load ends meanwhile, if it can.
                std::thread::sleep(RUN);
                Ok(())
            })?;
        }
        let report = running.finish(soon())?;
        let took = start.elapsed().as_secs_f64();
        let (ticks, sleeps) = (main_loop()?.since(ticks), wake_ups(qemu)? - sleeps);
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        let operations = report.operations as f64;
        Ok(Sample {
            iops: operations * 1e3 / report.elapsed_ms as f64,
            p99_ms: report.latencies.p99_us as f64 / 1e3,
            wake_ups_per_request: sleeps as f64 / operations,
            // A tick is a hundredth of a second.
            main_loop_percent: ticks as f64 / took,
        })
    }
}

fn record(row: &str, samples: &[Sample], idle: &[Sample]) {
    let column = |name: &str, value: f64| kata_test::measure(&format!("{row} | {name}"), value);
    let iops = samples.iter().map(|sample| sample.iops);
    column("IOPS", median(samples, |sample| sample.iops));
    column("p99 ms", median(samples, |sample| sample.p99_ms));
    column(
        "main loop %",
        median(samples, |sample| sample.main_loop_percent),
    );
    column(
        "wake-ups/request",
        median(samples, |sample| sample.wake_ups_per_request),
    );
    let of_idle = sorted(iops.zip(idle).map(|(iops, idle)| iops / idle.iops));
    column("IOPS / idle", middle(&of_idle));
    column("IOPS / idle, least", of_idle[0]);
    column("IOPS / idle, most", of_idle[of_idle.len() - 1]);
}

fn median(samples: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    middle(&sorted(samples.iter().map(value)))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
