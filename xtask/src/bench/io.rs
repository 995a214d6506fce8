//! IOPS and latencies of disks that the main loop, one IOThread or several IOThreads serve.
//!
//! The agent generates the load: each vCPU reads a disk that is in the host's page cache, 4 KiB at a
//! time with 32 requests in flight. TCG has no irqfd, so the interrupt of each completion crosses the
//! main loop: figures with a busy main loop have no goal there.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::Store;
use guest_vm::config::{Aio, IoThreadProperties};
use guest_vm::guest::protocol::{Direction, Extent, Load, Serial};
use guest_vm::qemu::{Topology, VmSpec};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::Vm;
use guest_vm::warm::WarmStore;
use iothread_hotplug::DiskSpec;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::QemuVersion;
use qmp_client::command::QueryVersion;

use super::figure::{Figure, Goal, Peer};
use super::vms::{Vms, shape, soon};
use super::{Bench, Setup};
use iothread_advise::Samples;

pub(super) const BENCHES: &[Bench] = &[Bench::of_vms("io: placement", placement)];

/// The unit of operations per second.
const IOPS: &str = "IOPS";

/// Bytes of a disk.
pub(super) const SIZE: u64 = 32 << 20;

pub(super) const VCPUS: u32 = 2;

/// How many requests of a thread are in flight.
pub(super) const DEPTH: u32 = 32;

/// How long one load runs.
const RUN: Duration = Duration::from_millis(800);

/// A VM whose disks are served by different threads.
struct Placed {
    vm: RefCell<Vm>,
    scratch: ScratchDir,
}

/// The 99th percentiles of latencies, in milliseconds, in the order of the runs.
pub(super) type P99 = RefCell<Vec<f64>>;

fn placement(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let placed = Placed::start(setup, vms)?;
    let pinned = |n| Placement::Pinned(IoThreadId::indep(n));
    let main = [placed.attach("main", &Placement::MainLoop)?];
    let one = [placed.attach("one", &pinned(0))?];
    let together = placed.four("together", |_| pinned(1))?;
    let apart = placed.four("apart", pinned)?;
    let [main_p99, one_p99, busy_main_p99, busy_one_p99] = [const { P99::new(Vec::new()) }; 4];
    let [in_main, in_one, busy_main, busy_one, in_together, in_apart] =
        setup.rounds().interleave([
            &mut || load(&placed.vm.borrow(), &main, RUN, &main_p99),
            &mut || load(&placed.vm.borrow(), &one, RUN, &one_p99),
            &mut || placed.load_while_busy(&main, &busy_main_p99),
            &mut || placed.load_while_busy(&one, &busy_one_p99),
            &mut || load(&placed.vm.borrow(), &together, RUN, &P99::default()),
            &mut || load(&placed.vm.borrow(), &apart, RUN, &P99::default()),
        ])?;
    let main_loop = |samples| Peer::new("main loop", samples);
    let p99 = |what, ours, main| p99(vms, what, ours, "main loop", main);
    let mut figures = vec![
        vms.figure("io: one thread", IOPS, in_one, main_loop(in_main)),
        p99("io: one thread, p99", one_p99, main_p99)?.with_goal(Goal::AtMost(1.0)),
        vms.figure(
            "io: one thread, main loop busy",
            IOPS,
            busy_one,
            main_loop(busy_main),
        ),
        p99(
            "io: one thread, p99, main loop busy",
            busy_one_p99,
            busy_main_p99,
        )?,
        vms.figure(
            "io: four disks on four threads",
            IOPS,
            in_apart,
            Peer::new("on one thread", in_together),
        ),
    ];
    figures.extend(placed.spread(setup, vms, &one)?);
    Ok(figures)
}

impl Placed {
    fn start(setup: &Setup, vms: &Vms) -> Result<Self> {
        let mut shape = VmSpec {
            root_ports: 12,
            ..shape(Topology::Q35, VCPUS)
        };
        shape.config.aio = Aio::Threads;
        // As QEMU and Kata have it: threads poll before they sleep.
        shape.config.iothreads.properties = IoThreadProperties::default();
        let store = WarmStore::of(&Store::of_user()?);
        Ok(Self {
            vm: RefCell::new(Vm::restore_or_boot(&vms.manifest, &shape, &store)?),
            scratch: ScratchDir::new_in(&setup.folder.join("disks"))?,
        })
    }

    /// Attaches a disk that is in the page cache.
    fn attach(&self, name: &str, placement: &Placement) -> Result<Serial> {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, vec![0x5a; usize::try_from(SIZE)?])?;
        let disk = DiskSpec::new(DeviceId::new(name)?, path);
        self.vm.borrow_mut().attach(&disk, placement)?;
        Ok(Serial(name.to_owned()))
    }

    fn four(&self, name: &str, placement: impl Fn(usize) -> Placement) -> Result<[Serial; 4]> {
        let disks: Vec<_> = (0..4)
            .map(|n| self.attach(&format!("{name}{n}"), &placement(n)))
            .collect::<Result<_>>()?;
        Ok(disks.try_into().expect("there are four"))
    }

    /// Loads disks while QMP traffic keeps the main loop busy.
    fn load_while_busy(&self, disks: &[Serial], p99: &P99) -> Result<f64> {
        let ended = AtomicBool::new(false);
        let vm = self.vm.borrow();
        let qmp = vm.qmp();
        std::thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    qmp.execute(&QueryVersion {}, soon())?;
                }
                Ok::<_, anyhow::Error>(())
            });
            let rate = load(&vm, disks, RUN, p99);
            ended.store(true, Ordering::Relaxed);
            traffic.join().expect("it does not panic")?;
            rate
        })
    }

    /// Compares a disk with queues on two threads and one with all queues on one thread.
    fn spread(&self, setup: &Setup, vms: &Vms, one: &[Serial]) -> Result<Vec<Figure>> {
        if vms.manifest.qemu.parsed_version() < Some(QemuVersion::MAPS_QUEUES) {
            eprintln!("  this QEMU spreads no queues over threads");
            return Ok(Vec::new());
        }
        let two = NonZeroUsize::new(2).context("two is not zero")?;
        let spread = [self.attach("spread", &Placement::Spread(two))?];
        let [spread_p99, one_p99] = [const { P99::new(Vec::new()) }; 2];
        let [spread, one] = setup.rounds().interleave([
            &mut || load(&self.vm.borrow(), &spread, RUN, &spread_p99),
            &mut || load(&self.vm.borrow(), one, RUN, &one_p99),
        ])?;
        let name = "io: spread over two threads";
        let figure = vms.figure(name, IOPS, spread, Peer::new("one thread", one));
        let name = "io: spread over two threads, p99";
        Ok(vec![
            figure.with_goal(Goal::AtLeast(1.0)),
            p99(vms, name, spread_p99, "one thread", one_p99)?,
        ])
    }
}

/// A figure of 99th percentiles.
pub(super) fn p99(vms: &Vms, what: &str, ours: P99, peer: &str, theirs: P99) -> Result<Figure> {
    let [ours, theirs] = [ours, theirs].map(|of| Samples::new(of.into_inner()));
    Ok(vms.figure(what, "ms", ours?, Peer::new(peer, theirs?)))
}

/// Reads disks with all vCPUs, each thread on its own. Returns operations per second, and records the worst 99th
/// percentile of the latencies.
pub(super) fn load(vm: &Vm, disks: &[Serial], run: Duration, p99: &P99) -> Result<f64> {
    let threads = VCPUS.div_ceil(u32::try_from(disks.len())?);
    let start = |(n, disk): (u32, &Serial)| {
        let load = Load {
            extent: Extent {
                serial: disk.clone(),
                seed: 0,
                offset: 0,
                length: SIZE,
            },
            direction: Direction::Read,
            threads,
            cpus: (n..n + threads).map(|cpu| cpu % VCPUS).collect(),
            depth: DEPTH,
            block_size: 4096,
            duration_ms: run.as_millis().try_into().unwrap_or(u64::MAX),
            operations: None,
        };
        vm.agent().start_load(&load, soon())
    };
    let running: Vec<_> = (0..).zip(disks).map(start).collect::<Result<_, _>>()?;
    let mut worst = 0;
    let mut rate = 0.0;
    for load in running {
        let report = load.finish(soon())?;
        ensure!(report.errors == 0 && report.elapsed_ms > 0, "{report:?}");
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let of_this = report.operations as f64 * 1e3 / report.elapsed_ms as f64;
        rate += of_this;
        worst = worst.max(report.latencies.p99_us);
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a second")]
    p99.borrow_mut().push(worst as f64 / 1e3);
    Ok(rate)
}
