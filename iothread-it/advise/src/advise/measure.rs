//! Measures a layout in a running VM: attaches disks, loads all of them at once, and detaches them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use guest_vm::guest::protocol::{Extent, Load, LoadReport, Serial};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::{ExitReport, Vm};
use iothread_hotplug::DiskSpec;
use iothread_pool::{DeviceId, cpu_ticks};
use qmp_client::command::{QueryIothreads, object_path, set_property};
use qmp_client::wait::Deadline;

use super::layout::Layout;
use super::{AdviseError, Context as _, Options};

/// How long one load runs.
pub(super) const RUN: Duration = Duration::from_millis(500);

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clock ticks of `/proc` are a hundredth of a second for every program (`USER_HZ`).
const MICROSECONDS_PER_TICK: f64 = 10_000.0;

/// What one run of a layout gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Operations per second, of all disks together.
    pub(super) iops: f64,
    /// The median latency of the slowest disk, in milliseconds.
    pub(super) p50_ms: f64,
    /// The 99th percentile of the slowest disk, in milliseconds.
    pub(super) p99_ms: f64,
    /// CPU time of the whole QEMU process for one operation, in microseconds.
    pub(super) cpu_us: f64,
}

/// A VM and the files of its disks.
pub(super) struct Bench<'a> {
    vm: Vm,
    options: &'a Options,
    vcpus: u32,
    disks: Vec<DiskSpec>,
    /// QEMU's own polling time, in nanoseconds.
    polling: u64,
    _scratch: ScratchDir,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        vm: Vm,
        options: &'a Options,
        vcpus: u32,
        folder: &Path,
    ) -> Result<Self, AdviseError> {
        let scratch = ScratchDir::new_in(folder).doing("make files for disks")?;
        let names = (0..options.disks.get()).map(|number| format!("disk{number}"));
        let disks = names.map(|name| {
            let path = scratch.path().join(&name);
            fill(&path, options.size_bytes()).doing("write a disk's file")?;
            let id = DeviceId::new(name).doing("name a disk")?;
            Ok(DiskSpec::new(id, path))
        });
        let disks = disks.collect::<Result<_, AdviseError>>()?;
        let threads = vm.qmp().execute(&QueryIothreads {}, soon());
        let threads = threads.doing("query IOThreads")?;
        let polling = threads.first().map_or(0, |thread| thread.poll_max_ns);
        Ok(Self {
            vm,
            options,
            vcpus,
            disks,
            polling: polling.try_into().unwrap_or_default(),
            _scratch: scratch,
        })
    }

    pub(super) fn exit_report(&self) -> ExitReport {
        self.vm.exit_report()
    }

    /// Measures layouts that have the disks on the same threads, in this order.
    pub(super) fn measure(&mut self, layouts: &[Layout]) -> Result<Vec<Sample>, AdviseError> {
        for (number, disk) in self.disks.iter().enumerate() {
            let Some(layout) = layouts.first() else {
                return Ok(Vec::new());
            };
            let mut disk = disk.clone();
            disk.queues = Some(layout.queues);
            let attached = self.vm.attach(&disk, &layout.placement(number));
            attached.doing("attach a disk")?;
        }
        let samples = layouts.iter().map(|layout| self.measure_attached(layout));
        let samples = samples.collect();
        for disk in &self.disks {
            // A guest that misses the request gets another one.
            let detached = self.vm.detach(&disk.id);
            let detached = detached.or_else(|_| self.vm.detach(&disk.id));
            detached.doing("detach a disk")?;
        }
        samples
    }

    fn measure_attached(&self, layout: &Layout) -> Result<Sample, AdviseError> {
        self.set_polling(match layout.polling_off {
            true => 0,
            false => self.polling,
        })?;
        self.load()
    }

    fn set_polling(&self, nanoseconds: u64) -> Result<(), AdviseError> {
        for thread in self.vm.pool().threads() {
            let path = object_path(thread.as_str());
            let command = set_property(&path, ("poll-max-ns", nanoseconds));
            let set = self.vm.qmp().execute(&command, soon());
            set.doing("set the polling time of a thread")?;
        }
        Ok(())
    }

    /// Loads all disks at once, with all vCPUs.
    fn load(&self) -> Result<Sample, AdviseError> {
        let before = self.cpu_ticks()?;
        let mut running = Vec::new();
        for number in 0..self.disks.len() {
            let load = self.vm.agent().start_load(&self.load_of(number), soon());
            running.push(load.doing("start a load")?);
        }
        let mut reports = Vec::new();
        for load in running {
            reports.push(load.finish(soon()).doing("run a load")?);
        }
        let ticks = self.cpu_ticks()?.saturating_sub(before);
        sample(&reports, ticks)
    }

    fn load_of(&self, number: usize) -> Load {
        let vcpus = self.vcpus as usize;
        let threads = vcpus.div_ceil(self.disks.len());
        let cpus = (number * threads..(number + 1) * threads).map(|cpu| cpu % vcpus);
        Load {
            extent: Extent {
                serial: Serial(self.disks[number].id.to_string()),
                seed: 0,
                offset: 0,
                length: self.options.size_bytes(),
            },
            direction: self.options.direction(),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            cpus: cpus.filter_map(|cpu| u32::try_from(cpu).ok()).collect(),
            depth: self.options.depth,
            block_size: self.options.block_size,
            duration_ms: RUN.as_millis().try_into().unwrap_or(u64::MAX),
            operations: None,
        }
    }

    fn cpu_ticks(&self) -> Result<u64, AdviseError> {
        let file = format!("/proc/{}/stat", self.vm.process().pid());
        let stat = fs::read_to_string(file).doing("read QEMU's CPU time")?;
        Ok(cpu_ticks(&stat).unwrap_or_default())
    }
}

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// A file whose blocks are all allocated.
fn fill(path: &Path, size: u64) -> std::io::Result<()> {
    const BLOCK: usize = 1 << 20;
    let block = vec![0x5a; BLOCK];
    let mut file = File::create(path)?;
    for _ in 0..size / BLOCK as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

#[expect(clippy::cast_precision_loss, reason = "counts of less than a second")]
fn sample(reports: &[LoadReport], ticks: u64) -> Result<Sample, AdviseError> {
    let mut sample = Sample {
        iops: 0.0,
        p50_ms: 0.0,
        p99_ms: 0.0,
        cpu_us: 0.0,
    };
    let mut operations = 0;
    for report in reports {
        if report.errors > 0 || report.operations == 0 || report.elapsed_ms == 0 {
            let first = report.first_error.clone();
            return Err(AdviseError::Load(
                first.unwrap_or_else(|| "it did nothing".to_owned()),
            ));
        }
        operations += report.operations;
        sample.iops += report.operations as f64 * 1e3 / report.elapsed_ms as f64;
        sample.p50_ms = sample.p50_ms.max(report.latencies.p50_us as f64 / 1e3);
        sample.p99_ms = sample.p99_ms.max(report.latencies.p99_us as f64 / 1e3);
    }
    sample.cpu_us = ticks as f64 * MICROSECONDS_PER_TICK / operations as f64;
    Ok(sample)
}
