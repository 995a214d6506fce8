//! Attach and detach, compared with raw QMP on the same VM and with the way Kata's runtime waits.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_vm::artifacts::Store;
use guest_vm::guest::Agent;
use guest_vm::guest::protocol::{Presence, Serial};
use guest_vm::qemu::{GuestMemory, Topology, arguments, slots};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::Vm;
use guest_vm::warm::WarmStore;
use iothread_hotplug::blocking::{Guest, Hotplug};
use iothread_hotplug::{BlockOptions, DiskSpec, GuestDisk, GuestError};
use iothread_pool::{DeviceId, Placement, Pool};
use qmp_client::Qmp;
use qmp_client::command::QueryVersion;
use qmp_client::wait::Deadline;
use serde_json::json;

use super::figure::{Figure, Goal, Peer};
use super::interleave::since;
use super::raw_qemu::{RawQemu, Script};
use super::vms::{Vms, shape, soon};
use super::{Bench, Setup};
use iothread_advise::Samples;

pub(super) const BENCHES: &[Bench] = &[
    Bench::of_vms("hotplug: attach and detach", attach_and_detach),
    Bench::of_vms("hotplug: native and ACPI", native),
    Bench::of_vms("qmp: round trip", round_trip),
];

/// Round trips per sample: one alone is shorter than a context switch.
const ROUND_TRIPS: u32 = 200;

/// The interval in which Kata's runtime polls for DEVICE_DELETED.
const KATA_POLL: Duration = Duration::from_millis(100);

const DISK: &str = "disk0";

/// The script's id for the same disk. Our client receives the script's events too, perhaps only
/// after its own next attach has begun.
const SCRIPTED: &str = "script0";

/// A VM with two monitors: one for our client and one for a script.
struct TwoMonitors {
    qmp: Qmp,
    agent: Agent,
    script: RefCell<Script>,
    hotplug: RefCell<Hotplug>,
    disk: DiskSpec,
    // Last, so that the channels end first.
    _scratch: ScratchDir,
    _process: guest_vm::process::OwnedProcess,
}

/// Further times of our cycles, in milliseconds.
#[derive(Default)]
struct Timings {
    detach: Vec<f64>,
    cycle: Vec<f64>,
    /// From DEVICE_DELETED's timestamp to our log.
    event: Vec<f64>,
    /// From the last reply to the end of the detach.
    after_reply: Vec<f64>,
    /// From the agent's read of the uevent to its report.
    report: Vec<f64>,
    /// From our read of the report to the end of the attach.
    after_report: Vec<f64>,
}

impl TwoMonitors {
    fn boot(setup: &Setup, vms: &Vms) -> Result<Self> {
        let shape = shape(Topology::Q35, 1);
        let manifest = &vms.manifest;
        let arguments = arguments(&shape, &vms.accelerator, manifest, &GuestMemory::Anonymous);
        let RawQemu {
            monitors: [ours, other],
            agent,
            process,
        } = RawQemu::start(&vms.manifest.qemu, arguments)?;
        agent.set_read_timeout(None)?;
        ours.set_read_timeout(None)?;
        let qmp = Qmp::negotiate(ours, soon())?;
        let script = Script::open(other)?;
        let agent = Agent::new(agent)?;
        agent.greeting(soon())?;
        let version = qmp.execute(&QueryVersion {}, soon())?;
        let pool = Pool::new(shape.threads(), slots(&shape))?;
        let scratch = ScratchDir::new_in(&setup.folder.join("disks"))?;
        let disk = disk(&scratch)?;
        Ok(Self {
            hotplug: RefCell::new(Hotplug::new(
                pool,
                BlockOptions::from(&shape.config),
                version.qemu,
            )),
            qmp,
            agent,
            script: RefCell::new(script),
            disk,
            _scratch: scratch,
            _process: process,
        })
    }

    /// Attaches and detaches with our library. Returns the milliseconds of the attach.
    fn ours(&self, timings: &mut Timings) -> Result<f64> {
        struct Watched<'a>(&'a Agent, Cell<Duration>);
        impl Guest for Watched<'_> {
            fn await_present(&self, disk: &GuestDisk, by: Deadline) -> Result<(), GuestError> {
                let serial = Serial(disk.id.to_string());
                let known_for = self.0.await_disk(&serial, Presence::Present, by)?;
                self.1.set(known_for);
                Ok(())
            }

            fn await_absent(&self, disk: &GuestDisk, by: Deadline) -> Result<(), GuestError> {
                self.0.await_absent(disk, by)
            }
        }
        let mut hotplug = self.hotplug.borrow_mut();
        let guest = Watched(&self.agent, Cell::default());
        let start = Instant::now();
        hotplug.attach(&self.qmp, &guest, &self.disk, &Placement::First, soon())?;
        let attach = since(start);
        let read = self
            .agent
            .newest_line()
            .context("the agent has written no line")?;
        timings.after_report.push(since(read));
        timings.report.push(guest.1.get().as_secs_f64() * 1e3);

        let events = self.qmp.cursor();
        let start = Instant::now();
        hotplug.detach(&self.qmp, &self.disk.id, soon())?;
        let detach = since(start);
        let read = self.qmp.newest_line().context("QEMU has written no line")?;
        timings.after_reply.push(since(read));
        timings.detach.push(detach);
        timings.cycle.push(attach + detach);
        let lag = self.qmp.events_since(events, |events| {
            let mut deleted = events.filter(|event| event.name == "DEVICE_DELETED");
            let event = deleted.find(|event| event.str("device") == Some(DISK))?;
            Some(event.received_us? - event.timestamp_us?)
        });
        let lag = lag.map_err(|lost| anyhow::anyhow!("{lost}"))?;
        #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
        timings
            .event
            .push(lag.context("no DEVICE_DELETED")? as f64 / 1e3);
        Ok(attach)
    }

    /// Attaches and detaches with raw QMP. `removed` waits for the removal of the device. Returns the
    /// milliseconds of the attach.
    fn scripted(
        &self,
        detach: &RefCell<Vec<f64>>,
        removed: impl FnOnce(&mut Script) -> Result<()>,
    ) -> Result<f64> {
        let script = &mut *self.script.borrow_mut();
        let start = Instant::now();
        let file = json!({ "driver": "file", "filename": self.disk.path, "aio": "threads" });
        script.command(
            "blockdev-add",
            &json!({ "driver": "raw", "node-name": SCRIPTED, "file": file }),
        )?;
        script.command(
            "device_add",
            &json!({
                "driver": "virtio-blk-pci", "id": SCRIPTED, "bus": "rp0", "addr": "0x0",
                "drive": SCRIPTED, "serial": SCRIPTED, "iothread": "indep_iothread_0",
            }),
        )?;
        let serial = Serial(SCRIPTED.into());
        self.agent.await_disk(&serial, Presence::Present, soon())?;
        let attach = since(start);
        script.clear_events();
        let start = Instant::now();
        script.command("device_del", &json!({ "id": SCRIPTED }))?;
        removed(script)?;
        script.command("blockdev-del", &json!({ "node-name": SCRIPTED }))?;
        detach.borrow_mut().push(since(start));
        Ok(attach)
    }
}

fn attach_and_detach(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let two = TwoMonitors::boot(setup, vms)?;
    let mut timings = Timings::default();
    let (floor_detach, kata_detach) = (RefCell::default(), RefCell::default());
    // Warm up: TCG translates the guest's code in the first cycle of each.
    two.ours(&mut Timings::default())?;
    two.scripted(&RefCell::default(), wait_for_removal)?;
    let [attach, floor_attach, kata_attach] = setup.rounds().interleave([
        &mut || two.ours(&mut timings),
        &mut || two.scripted(&floor_detach, wait_for_removal),
        &mut || two.scripted(&kata_detach, kata_waits),
    ])?;
    let samples = |of: RefCell<Vec<f64>>| Samples::new(of.into_inner());
    let (floor_detach, kata_detach) = (samples(floor_detach)?, samples(kata_detach)?);
    let script = |samples| Peer::new("raw QMP", samples);
    let kata = |samples| Peer::new("Kata's poll every 100 ms", samples);
    let rate = |cycles: &[f64]| Samples::new(cycles.iter().map(|ms| 1e3 / ms).collect());
    let script_rate = rate(&[floor_attach.median() + floor_detach.median()])?;
    let kata_rate = rate(&[kata_attach.median() + kata_detach.median()])?;
    let cycles = rate(&timings.cycle)?;
    let detach = Samples::new(timings.detach)?;
    let mut figures = vec![
        vms.figure(
            "hotplug: attach to guest-visible",
            "ms",
            attach,
            script(floor_attach),
        ),
        vms.figure("hotplug: detach to done", "ms", detach, kata(kata_detach))
            .with_floor(script(floor_detach)),
        vms.figure(
            "hotplug: attach/detach cycles",
            "1/s",
            cycles,
            kata(kata_rate),
        )
        .with_floor(script(script_rate)),
    ];
    for (what, ours, limit) in [
        ("DEVICE_DELETED to our log", timings.event, 5.0),
        ("last reply to the end of detach", timings.after_reply, 2.0),
        ("uevent to the agent's report", timings.report, 10.0),
        (
            "agent's report to the end of attach",
            timings.after_report,
            2.0,
        ),
    ] {
        let what = format!("hotplug: {what}");
        let figure = vms.figure(
            &what,
            "ms",
            Samples::new(ours)?,
            Peer::limit("limit", limit)?,
        );
        figures.push(figure.with_goal(Goal::AtMost(1.0)));
    }
    Ok(figures)
}

fn wait_for_removal(script: &mut Script) -> Result<()> {
    script.wait_for_removal(SCRIPTED)
}

/// Sends a query and looks at the events that came with the reply, as Kata's Rust runtime does.
fn kata_waits(script: &mut Script) -> Result<()> {
    loop {
        script.command("query-version", &json!({}))?;
        if script.saw_removal(SCRIPTED) {
            return Ok(());
        }
        std::thread::sleep(KATA_POLL);
    }
}

/// With native PCI Express hotplug the guest waits five seconds before it releases the device.
fn native(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let store = WarmStore::of(&Store::of_user()?);
    let scratch = ScratchDir::new_in(&setup.folder.join("disks"))?;
    let disk = disk(&scratch)?;
    let start = |topology| Vm::restore_or_boot(&vms.manifest, &shape(topology, 1), &store);
    let both = [
        RefCell::new(start(Topology::Q35Native)?),
        RefCell::new(start(Topology::Q35)?),
    ];
    let detaches = [const { RefCell::new(Vec::new()) }; 2];
    let cycle = |which: usize| {
        let mut vm = both[which].borrow_mut();
        let start = Instant::now();
        vm.attach(&disk, &Placement::First)?;
        let attach = since(start);
        let start = Instant::now();
        vm.detach(&disk.id)?;
        detaches[which].borrow_mut().push(since(start));
        Ok(attach)
    };
    // Six seconds each: few runs.
    let [attach, acpi_attach] = setup
        .rounds()
        .few()
        .interleave([&mut || cycle(0), &mut || cycle(1)])?;
    let [detach, acpi_detach] = detaches.map(RefCell::into_inner).map(Samples::new);
    let figure = |what, ours, acpi| vms.figure(what, "ms", ours, Peer::new("ACPI hotplug", acpi));
    Ok(vec![
        figure("hotplug: native attach", attach, acpi_attach),
        figure("hotplug: native detach", detach?, acpi_detach?),
    ])
}

fn round_trip(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let two = TwoMonitors::boot(setup, vms)?;
    let script = &mut *two.script.borrow_mut();
    let [ours, raw] = setup.rounds().interleave([
        &mut || {
            let start = Instant::now();
            for _ in 0..ROUND_TRIPS {
                two.qmp.execute(&QueryVersion {}, soon())?;
            }
            Ok(since(start) / f64::from(ROUND_TRIPS))
        },
        &mut || {
            let start = Instant::now();
            for _ in 0..ROUND_TRIPS {
                script.command("query-version", &json!({}))?;
            }
            Ok(since(start) / f64::from(ROUND_TRIPS))
        },
    ])?;
    let peer = Peer::new("a raw socket", raw);
    let figure = vms.figure("qmp: round trip", "ms", ours, peer);
    Ok(vec![figure.with_goal(Goal::AtMost(1.25))])
}

/// Creates an empty disk.
fn disk(scratch: &ScratchDir) -> Result<DiskSpec> {
    let path: PathBuf = scratch.path().join(DISK);
    std::fs::File::create(&path)?.set_len(64 << 20)?;
    Ok(DiskSpec::new(DeviceId::new(DISK)?, path))
}
