//! Disks on every way to open an image: format × `aio` × page cache. What QEMU refuses is refused by its own words.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskSpec;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::Qmp;
use qmp_client::command::NodeOptions;
use serde_json::{Value, json};

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, DISK_SIZE, extent, on_each_machine, soon};
use crate::raw::{self, job};

on_each_machine!(
    raw_images_with_threads_and_native_aio,
    qcow2_images_with_threads_and_native_aio,
    luks_images_with_threads_and_native_aio;
    needs (when = crate::fixture::io_uring):
        raw_images_with_io_uring,
        qcow2_images_with_io_uring,
        luks_images_with_io_uring;
    needs (all(root, device = "/dev/loop-control", command = "losetup", when = crate::fixture::qemu_and_guest)):
        host_devices_with_threads_and_native_aio,
);

/// A format of images.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Raw,
    Qcow2,
    Luks,
    HostDevice,
}

/// The thread that serves, so that none serves by default.
const THREAD: usize = 2;

/// What QEMU says of Linux AIO with the page cache.
const NATIVE_NEEDS_DIRECT: &str = "aio=native was specified, but it requires cache.direct=on";

fn raw_images_with_threads_and_native_aio(topology: Topology) -> Result<()> {
    each(topology, Format::Raw, &["threads", "native"])
}

fn qcow2_images_with_threads_and_native_aio(topology: Topology) -> Result<()> {
    each(topology, Format::Qcow2, &["threads", "native"])
}

fn luks_images_with_threads_and_native_aio(topology: Topology) -> Result<()> {
    each(topology, Format::Luks, &["threads", "native"])
}

/// A block device of the host: QEMU opens it by another driver than a file.
fn host_devices_with_threads_and_native_aio(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let device = LoopDevice::on(&disk.path)?;
        each_way(
            bench,
            Format::HostDevice,
            &device.path,
            &["threads", "native"],
        )
    })
}

fn raw_images_with_io_uring(topology: Topology) -> Result<()> {
    each(topology, Format::Raw, &["io_uring"])
}

fn qcow2_images_with_io_uring(topology: Topology) -> Result<()> {
    each(topology, Format::Qcow2, &["io_uring"])
}

fn luks_images_with_io_uring(topology: Topology) -> Result<()> {
    each(topology, Format::Luks, &["io_uring"])
}

fn each(topology: Topology, format: Format, aios: &[&str]) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        create(bench.vm.qmp(), format, &disk.path)?;
        each_way(bench, format, &disk.path, aios)
    })
}

fn each_way(bench: &mut Bench, format: Format, path: &Path, aios: &[&str]) -> Result<()> {
    for aio in aios {
        for direct in [false, true] {
            let disk = DiskSpec {
                node: Some(node(format, path, aio, direct)?),
                ..DiskSpec::new(DeviceId::new("disk0")?, path)
            };
            match (*aio, direct) {
                ("native", false) => is_refused(bench, &disk)?,
                _ => serves(bench, &disk)
                    .with_context(|| format!("aio={aio}, cache.direct={direct}"))?,
            }
        }
    }
    bench.still_works()
}

/// A block device on a file. The kernel removes it when the last process that has it open ends.
struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    fn on(file: &Path) -> Result<Self> {
        let losetup = |args: &[&OsStr]| -> Result<String> {
            let out = Command::new("losetup").args(args).output()?;
            let error = String::from_utf8_lossy(&out.stderr);
            ensure!(out.status.success(), "losetup: {error}");
            Ok(String::from_utf8(out.stdout)?)
        };
        let show = ["--find", "--show"].map(OsStr::new);
        let path = PathBuf::from(losetup(&[&show[..], &[file.as_os_str()]].concat())?.trim());
        let open = File::open(&path);
        // It is open, so this takes effect at the end.
        losetup(&[OsStr::new("--detach"), path.as_os_str()])?;
        Ok(Self { path, _open: open? })
    }
}

/// Attaches, shows which thread serves, writes, and reads after another attach.
fn serves(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    let serving = IoThreadId::indep(THREAD);
    let placement = Placement::Pinned(serving.clone());
    let extent = extent(&disk.id, 2 << 20);
    bench.attach(disk, &placement)?;
    only(&serving, &under_load(&bench.vm, disk, 0)?)?;
    bench.vm.agent().write(&extent, soon())?;
    bench.detach(disk)?;
    bench.attach(disk, &placement)?;
    bench.vm.agent().verify(&extent, soon())?;
    bench.detach(disk)?;
    Ok(())
}

fn is_refused(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    let placement = Placement::Pinned(IoThreadId::indep(THREAD));
    let refused = bench.vm.attach(disk, &placement);
    let error = refused.err().context("QEMU took it")?;
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.contains(NATIVE_NEEDS_DIRECT), "{text}");
    ensure!(
        bench.vm.pool().lease_of(&disk.id).is_none(),
        "a lease is left"
    );
    Ok(())
}

/// Makes an image of the format, by QEMU itself.
fn create(qmp: &Qmp, format: Format, path: &Path) -> Result<()> {
    if matches!(format, Format::Raw | Format::HostDevice) {
        return Ok(());
    }
    if format == Format::Luks {
        let secret = json!({"qom-type": "secret", "id": "key", "data": "secret"});
        qmp.execute(&raw::ObjectAdd(secret), soon())?;
        // The header comes on top of what the guest sees.
        File::create(path)?;
    }
    let file = json!({"driver": "file", "node-name": "image", "filename": path.to_str()});
    qmp.execute(&raw::BlockdevAdd(file), soon())?;
    let options = match format {
        // A short time for the key: it is not what is tested.
        Format::Luks => {
            json!({"driver": "luks", "file": "image", "size": DISK_SIZE, "key-secret": "key",
                               "iter-time": 100})
        }
        _ => json!({"driver": "qcow2", "file": "image", "size": DISK_SIZE}),
    };
    let patience = soon();
    while let Some(error) = failed_creation(qmp, &options)? {
        // QEMU 7.2 measures how fast it derives keys, and gives up on a busy host.
        let is_busy = error == "Unable to get accurate CPU usage";
        ensure!(is_busy && !patience.has_passed(), "no image: {error}");
    }
    qmp.execute(&raw::BlockdevDel(json!({"node-name": "image"})), soon())?;
    Ok(())
}

/// Runs the job. Returns its error.
fn failed_creation(qmp: &Qmp, options: &Value) -> Result<Option<String>> {
    let since = qmp.cursor();
    let create = json!({"job-id": "create", "options": options});
    qmp.execute(&raw::BlockdevCreate(create), soon())?;
    job(qmp, "create", "concluded", since)?;
    let jobs = qmp.execute(&raw::QueryJobs(json!({})), soon())?;
    qmp.execute(&raw::JobDismiss(json!({"id": "create"})), soon())?;
    Ok(jobs[0]["error"].as_str().map(str::to_owned))
}

fn node(format: Format, path: &Path, aio: &str, direct: bool) -> Result<NodeOptions> {
    let cache = json!({"direct": direct});
    let driver = match format {
        Format::HostDevice => "host_device",
        _ => "file",
    };
    let file = json!({"driver": driver, "filename": path.to_str(), "aio": aio, "cache": cache});
    let options = match format {
        Format::Raw | Format::HostDevice => json!({"driver": "raw", "file": file, "cache": cache}),
        Format::Qcow2 => json!({"driver": "qcow2", "file": file, "cache": cache}),
        Format::Luks => {
            json!({"driver": "luks", "file": file, "cache": cache, "key-secret": "key"})
        }
    };
    Ok(serde_json::from_value(options)?)
}
