//! The agent's load generator beside fio, on the same disk of the same guest, with the same requests.
//!
//! Of a file in the host's page cache, both are bound by the guest's CPUs: the generator that needs less CPU for a
//! request does more of them. Ours submits all that have ended with one system call. fio does so by an option; by
//! default it makes a call for each, which is measured too. A disk with a latency of its own is the same for both, as
//! storage is in use.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{Silent, Store, provision_fio};
use guest_vm::config::Aio;
use guest_vm::cpio::Archive;
use guest_vm::guest::protocol::{Exit, Notice, Program, Serial, Stream};
use guest_vm::qemu::{Topology, VmSpec};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::Vm;
use iothread_hotplug::DiskSpec;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use serde_json::{Value, json};

use super::figure::{Figure, Goal, Peer};
use super::io::{DEPTH, P99, SIZE, VCPUS, load, p99};
use super::vms::{Vms, shape, soon};
use super::{Bench, Setup};
use iothread_advise::Samples;

pub(super) const BENCHES: &[Bench] = &[Bench::of_vms("io: fio", beside_fio)];

/// How long a load runs.
const RUN: Duration = Duration::from_secs(2);

/// The latency of the disk that has one, in nanoseconds.
const LATENCY_NS: u64 = 10_000_000;

/// The folder of fio in the guest, with its loader.
const FOLDER: &str = "fio";
const LOADER: &str = "ld-linux-x86-64.so.2";

struct Guest {
    vm: Vm,
    _scratch: ScratchDir,
}

fn beside_fio(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let guest = Guest::start(setup, vms)?;
    let [file, file_fio, slow, slow_fio] = [const { P99::new(Vec::new()) }; 4];
    let [ours, fio, fio_single, ours_slow, fio_slow] = setup.rounds().interleave([
        &mut || load(&guest.vm, &[Serial("file".into())], RUN, &file),
        &mut || guest.fio("file", DEPTH, &file_fio),
        &mut || guest.fio("file", 1, &P99::default()),
        &mut || load(&guest.vm, &[Serial("slow".into())], RUN, &slow),
        &mut || guest.fio("slow", DEPTH, &slow_fio),
    ])?;
    let iops = |disk, ours: &Samples, fio| {
        let what = format!("io: generator, {disk}");
        let figure = vms.figure(&what, "IOPS", ours.clone(), Peer::new("fio", fio));
        figure.with_goal(Goal::AtLeast(0.9))
    };
    let p99 = |disk, ours, fio| {
        let what = format!("io: generator, {disk}, p99");
        p99(vms, &what, ours, "fio", fio)
    };
    Ok(vec![
        iops("page cache", &ours, fio),
        iops("page cache, fio as by default", &ours, fio_single),
        p99("page cache", file, file_fio)?,
        iops("disk with a latency of 10 ms", &ours_slow, fio_slow),
        p99("disk with a latency of 10 ms", slow, slow_fio)?,
    ])
}

impl Guest {
    fn start(setup: &Setup, vms: &Vms) -> Result<Self> {
        let scratch = ScratchDir::new_in(&setup.folder.join("disks"))?;
        let mut manifest = vms.manifest.clone();
        let image = scratch.path().join("initramfs");
        write_image(&manifest.guest.initramfs, &image)?;
        manifest.guest.initramfs = image;
        let mut shape: VmSpec = shape(Topology::Q35, VCPUS);
        shape.config.aio = Aio::Threads;
        // For fio, which is in the initramfs.
        shape.config.memory_mib = 768;
        let mut vm = Vm::boot(&manifest, &shape)?;
        let path = scratch.path().join("file");
        fs::write(&path, vec![0x5a; usize::try_from(SIZE)?])?;
        let file = DiskSpec::new(DeviceId::new("file")?, path);
        let mut slow = DiskSpec::new(DeviceId::new("slow")?, "");
        let node = json!({"driver": "null-co", "size": SIZE, "latency-ns": LATENCY_NS, "read-zeroes": true});
        slow.node = Some(serde_json::from_value(node)?);
        for (number, disk) in [file, slow].iter().enumerate() {
            vm.attach(disk, &Placement::Pinned(IoThreadId::indep(number)))?;
        }
        Ok(Self {
            vm,
            _scratch: scratch,
        })
    }

    /// Reads with fio, which submits up to so many requests at once. Returns operations per second.
    fn fio(&self, disk: &str, submit: u32, p99: &P99) -> Result<f64> {
        let disks = self.vm.agent().disks(soon())?;
        let found = disks.iter().find(|found| found.serial.0 == disk);
        let name = &found.context("the guest has no such disk")?.name;
        // Each thread reads a half of the disk.
        let half = SIZE / u64::from(VCPUS);
        let mut arguments: Vec<String> = ["--library-path", "/fio", "/fio/fio"]
            .map(Into::into)
            .to_vec();
        arguments.extend([
            "--name=reads".to_owned(),
            format!("--filename=/dev/{name}"),
            format!("--size={half}"),
            format!("--offset_increment={half}"),
            format!("--numjobs={VCPUS}"),
            format!("--iodepth={DEPTH}"),
            format!("--iodepth_batch_submit={submit}"),
            format!("--iodepth_batch_complete_max={DEPTH}"),
            format!("--runtime={}", RUN.as_secs()),
            format!("--cpus_allowed=0-{}", VCPUS - 1),
        ]);
        let same = "--rw=randread --bs=4k --direct=1 --ioengine=io_uring --thread --time_based --norandommap \
                    --cpus_allowed_policy=split --group_reporting --output-format=json";
        arguments.extend(same.split_whitespace().map(str::to_owned));
        let program = Program {
            path: format!("/{FOLDER}/{LOADER}"),
            arguments,
            directory: "/".into(),
            timeout_ms: 60_000,
            ..Program::default()
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let exit = self.vm.agent().run(&program, &mut |notice| {
            if let Notice::Output { stream, bytes } = notice {
                match stream {
                    Stream::Stdout => output.extend(bytes.0),
                    Stream::Stderr => errors.extend(bytes.0),
                }
            }
            ControlFlow::Continue(())
        })?;
        let said = || String::from_utf8_lossy(&errors).into_owned();
        ensure!(exit == Exit::Code(0), "fio: {exit:?}: {}", said());
        let report: Value = serde_json::from_slice(&output).with_context(said)?;
        let reads = &report["jobs"][0]["read"];
        let figure = |value: &Value| {
            value
                .as_f64()
                .with_context(|| format!("no figure in {reads}"))
        };
        let nanoseconds = figure(&reads["clat_ns"]["percentile"]["99.000000"])?;
        p99.borrow_mut().push(nanoseconds / 1e6);
        figure(&reads["iops"])
    }
}

/// Writes a boot image with fio beside what another one has: Linux unpacks archives one after the other.
fn write_image(plain: &Path, image: &Path) -> Result<()> {
    let progress = &mut Silent;
    let lock = Store::of_user()?.lock(progress)?;
    let files = provision_fio(&lock, progress).context("cannot provide fio")?;
    let mut archive = Archive::default();
    for (name, path) in files {
        let content = fs::read(&path).with_context(|| path.display().to_string())?;
        archive.file_below(&format!("{FOLDER}/{name}"), 0o755, content);
    }
    let mut bytes = fs::read(plain)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(archive.to_bytes());
    fs::write(image, bytes)?;
    Ok(())
}
