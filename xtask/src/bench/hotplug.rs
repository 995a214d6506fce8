//! Disks that come and go, beside a bare script on the same VM, and beside Kata's way of waiting.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_vm::artifacts::Store;
use guest_vm::guest::Agent;
use guest_vm::guest::protocol::{Presence, Serial};
use guest_vm::qemu::{Memory, Topology, Wiring, arguments, slots};
use guest_vm::scratch::Scratch;
use guest_vm::vm::Vm;
use guest_vm::warm::WarmStore;
use iothread_hotplug::{BlockOptions, DiskSpec, Guest, GuestError, Hotplug};
use iothread_pool::{DeviceId, Placement, Pool};
use qmp_client::Qmp;
use qmp_client::command::QueryVersion;
use qmp_client::wait::Deadline;
use serde_json::json;

use super::bare::{Bare, Script};
use super::figure::{Figure, Goal, Peer};
use super::samples::Samples;
use super::vms::{self, Vms, millis, shape, since};
use super::{Bench, Lab};
use crate::cargo;

pub(super) const BENCHES: &[Bench] = &[
    Bench {
        name: "hotplug: attach and detach",
        measure: |lab| vms::each(lab, |vms| attach_and_detach(lab, vms)),
    },
    Bench {
        name: "hotplug: native beside ACPI",
        measure: |lab| vms::each(lab, |vms| native(lab, vms)),
    },
    Bench {
        name: "qmp: round trip",
        measure: |lab| vms::each(lab, |vms| round_trip(lab, vms)),
    },
];

/// Round trips that are measured together: one alone is shorter than a change of threads.
const ROUND_TRIPS: u32 = 200;

/// How often Kata's runtime looks whether DEVICE_DELETED has come.
const KATA_POLL: Duration = Duration::from_millis(100);

const DISK: &str = "disk0";

/// The script's name for the same disk. Our client is told of what the script does too, perhaps
/// only after its own next attach has begun.
const SCRIPTED: &str = "script0";

/// A VM with two monitors: one for our client, and one for a script.
struct Two {
    qmp: Qmp,
    agent: Agent,
    script: RefCell<Script>,
    hotplug: RefCell<Hotplug>,
    disk: DiskSpec,
    // Last, so that the channels end first.
    _scratch: Scratch,
    _process: guest_vm::process::OwnedProcess,
}

/// What a cycle of ours tells beside its time, each a number of milliseconds.
#[derive(Default)]
struct Told {
    detach: Vec<f64>,
    cycle: Vec<f64>,
    /// From DEVICE_DELETED's timestamp to our log.
    event: Vec<f64>,
    /// From the last reply to the end of the detach.
    after_reply: Vec<f64>,
    /// From the agent's reading the uevent to its report.
    report: Vec<f64>,
    /// From the report's being read to the end of the attach.
    after_report: Vec<f64>,
}

impl Two {
    fn boot(lab: &Lab, vms: &Vms) -> Result<Self> {
        let shape = shape(Topology::Q35, 1);
        let wiring = Wiring::default();
        let manifest = &vms.manifest;
        let arguments = arguments(&shape, &vms.accelerator, manifest, wiring, &Memory::Own);
        let Bare {
            monitors: [ours, other],
            agent,
            process,
        } = Bare::start(&vms.manifest.qemu, arguments)?;
        agent.set_read_timeout(None)?;
        ours.set_read_timeout(None)?;
        let qmp = Qmp::negotiate(ours, soon())?;
        let script = Script::open(other)?;
        let agent = Agent::new(agent)?;
        agent.greeting(soon())?;
        let version = qmp.execute(&QueryVersion {}, soon())?;
        let pool = Pool::new(shape.threads(), slots(&shape))?;
        let scratch = Scratch::new_in(&lab.folder.join("disks"))?;
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

    /// Attaches and detaches by our library. Returns the milliseconds of the attach.
    fn ours(&self, told: &mut Told) -> Result<f64> {
        struct Watched<'a>(&'a Agent, Cell<Duration>);
        impl Guest for Watched<'_> {
            fn await_present(&self, disk: &DeviceId, by: Deadline) -> Result<(), GuestError> {
                let serial = Serial(disk.as_str().to_owned());
                let known_for = self.0.await_disk(&serial, Presence::Present, by)?;
                self.1.set(known_for);
                Ok(())
            }

            fn await_absent(&self, disk: &DeviceId, by: Deadline) -> Result<(), GuestError> {
                self.0.await_absent(disk, by)
            }
        }
        let mut hotplug = self.hotplug.borrow_mut();
        let guest = Watched(&self.agent, Cell::default());
        let start = Instant::now();
        hotplug.attach(&self.qmp, &guest, &self.disk, &Placement::First, soon())?;
        let attach = since(start);
        let read = self.agent.newest_line().context("no line of the agent's")?;
        told.after_report.push(since(read));
        told.report.push(millis(guest.1.get()));

        let events = self.qmp.cursor();
        let start = Instant::now();
        hotplug.detach(&self.qmp, &self.disk.id, soon())?;
        let detach = since(start);
        let read = self.qmp.newest_line().context("no line of QEMU's")?;
        told.after_reply.push(since(read));
        told.detach.push(detach);
        told.cycle.push(attach + detach);
        let lag = self.qmp.events_since(events, |events| {
            let mut deleted = events.filter(|event| event.name == "DEVICE_DELETED");
            let event = deleted.find(|event| event.str("device") == Some(DISK))?;
            Some(event.received_us? - event.timestamp_us?)
        });
        let lag = lag.map_err(|lost| anyhow::anyhow!("{lost}"))?;
        #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
        told.event
            .push(lag.context("no DEVICE_DELETED")? as f64 / 1e3);
        Ok(attach)
    }

    /// Attaches and detaches by a script. `removed` waits for the end of the device. Returns the
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
        script.forget();
        let start = Instant::now();
        script.command("device_del", &json!({ "id": SCRIPTED }))?;
        removed(script)?;
        script.command("blockdev-del", &json!({ "node-name": SCRIPTED }))?;
        detach.borrow_mut().push(since(start));
        Ok(attach)
    }
}

fn attach_and_detach(lab: &Lab, vms: &Vms) -> Result<Vec<Figure>> {
    let two = Two::boot(lab, vms)?;
    let mut told = Told::default();
    let (floor_detach, kata_detach) = (RefCell::default(), RefCell::default());
    // The first of each translates the guest's code, under emulation.
    two.ours(&mut Told::default())?;
    two.scripted(&RefCell::default(), |script| script.removed(SCRIPTED))?;
    let [attach, floor_attach, kata_attach] = lab.rounds.alternate([
        &mut || two.ours(&mut told),
        &mut || two.scripted(&floor_detach, |script| script.removed(SCRIPTED)),
        &mut || two.scripted(&kata_detach, kata_waits),
    ])?;
    let samples = |of: RefCell<Vec<f64>>| Samples::new(of.into_inner());
    let (floor_detach, kata_detach) = (samples(floor_detach)?, samples(kata_detach)?);
    let script = |samples| Peer {
        name: "a bare script",
        samples,
    };
    let kata = |samples| Peer {
        name: "Kata's poll every 100 ms",
        samples,
    };
    let rate = |cycles: &[f64]| Samples::new(cycles.iter().map(|ms| 1e3 / ms).collect());
    let script_rate = Samples::new(vec![1e3 / (floor_attach.median() + floor_detach.median())])?;
    let kata_rate = Samples::new(vec![1e3 / (kata_attach.median() + kata_detach.median())])?;
    let cycles = rate(&told.cycle)?;
    let mut figures = vec![
        figure(
            vms,
            "hotplug: attach to guest-visible",
            attach,
            script(floor_attach),
        ),
        Figure {
            floor: Some(script(floor_detach)),
            ..figure(
                vms,
                "hotplug: detach to done",
                Samples::new(told.detach)?,
                kata(kata_detach),
            )
        },
        Figure {
            unit: "1/s",
            floor: Some(script(script_rate)),
            ..figure(
                vms,
                "hotplug: attach/detach cycles",
                cycles,
                kata(kata_rate),
            )
        },
    ];
    let limits = [
        ("hotplug: DEVICE_DELETED to our log", told.event, 5.0),
        (
            "hotplug: last reply to the end of detach",
            told.after_reply,
            2.0,
        ),
        ("hotplug: uevent to the agent's report", told.report, 10.0),
        (
            "hotplug: agent's report to the end of attach",
            told.after_report,
            2.0,
        ),
    ];
    for (what, ours, limit) in limits {
        let peer = Peer {
            name: "what it may take",
            samples: Samples::new(vec![limit])?,
        };
        figures.push(Figure {
            goal: Some(Goal::AtMost(1.0)),
            ..figure(vms, what, Samples::new(ours)?, peer)
        });
    }
    Ok(figures)
}

/// Asks something harmless and looks at the events that came with the answer, as Kata's Rust
/// runtime does.
fn kata_waits(script: &mut Script) -> Result<()> {
    loop {
        script.command("query-version", &json!({}))?;
        if script.saw_removal(SCRIPTED) {
            return Ok(());
        }
        std::thread::sleep(KATA_POLL);
    }
}

/// With PCI Express's own hotplug the guest waits five seconds before it lets go.
fn native(lab: &Lab, vms: &Vms) -> Result<Vec<Figure>> {
    let store = WarmStore::of(&Store::in_target(&cargo::target_directory()?));
    let scratch = Scratch::new_in(&lab.folder.join("disks"))?;
    let disk = disk(&scratch)?;
    let start = |topology| Vm::restore_or_boot(&vms.manifest, &shape(topology, 1), &store);
    let vms_of_both = [
        RefCell::new(start(Topology::Q35Native)?),
        RefCell::new(start(Topology::Q35)?),
    ];
    let detaches = [const { RefCell::new(Vec::new()) }; 2];
    let cycle = |which: usize| {
        let mut vm = vms_of_both[which].borrow_mut();
        let start = Instant::now();
        vm.attach(&disk, &Placement::First)?;
        let attach = since(start);
        let start = Instant::now();
        vm.detach(&disk.id)?;
        detaches[which].borrow_mut().push(since(start));
        Ok(attach)
    };
    // Six seconds each, so a few runs have to do.
    let [attach, acpi_attach] = lab
        .rounds
        .few()
        .alternate([&mut || cycle(0), &mut || cycle(1)])?;
    let [detach, acpi_detach] = detaches.map(RefCell::into_inner).map(Samples::new);
    let acpi = |samples| Peer {
        name: "ACPI hotplug",
        samples,
    };
    Ok(vec![
        figure(vms, "hotplug: native attach", attach, acpi(acpi_attach)),
        figure(vms, "hotplug: native detach", detach?, acpi(acpi_detach?)),
    ])
}

fn round_trip(lab: &Lab, vms: &Vms) -> Result<Vec<Figure>> {
    let two = Two::boot(lab, vms)?;
    let script = &mut *two.script.borrow_mut();
    let [ours, raw] = lab.rounds.alternate([
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
    let peer = Peer {
        name: "a raw socket",
        samples: raw,
    };
    Ok(vec![Figure {
        goal: Some(Goal::AtMost(1.25)),
        ..figure(vms, "qmp: round trip", ours, peer)
    }])
}

fn figure(vms: &Vms, what: &str, ours: Samples, peer: Peer) -> Figure {
    Figure {
        name: vms.name(what),
        unit: "ms",
        ours,
        peer,
        floor: None,
        goal: None,
    }
}

/// Makes an empty disk.
fn disk(scratch: &Scratch) -> Result<DiskSpec> {
    let path: PathBuf = scratch.path().join(DISK);
    std::fs::File::create(&path)?.set_len(64 << 20)?;
    Ok(DiskSpec::new(DeviceId::new(DISK)?, path))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}
