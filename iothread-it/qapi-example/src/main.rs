//! A VM manager with tokio and the client of the crate [qapi]. It drives a QEMU that somebody else has
//! started, and that goes on without it.
//!
//! `qapi-example SOCKET STATE FOLDER resume|isolation`: QEMU's socket, the file that has the state, the folder
//! of the disks, and what to do.

mod outside;
mod qapi_vm;
mod state_file;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use iothread_hotplug::tokio::{Hotplug, Stopped, drive};
use iothread_hotplug::{BlockOptions, DiskSpec, DiskState};
use iothread_pool::{DeviceId, IoThreadId, PciSlot, Placement, Pool, SlotTable, root_port_id};
use qmp_client::QemuVersion;
use qmp_client::wait::Deadline;
use serde_json::json;

use crate::outside::{Outside, STUCK};
use crate::qapi_vm::QapiVm;
use crate::state_file::StateFile;

/// As many as the VM has.
const THREADS: usize = 4;
const PORTS: usize = 16;

/// How long an operation may take.
const GRANTED: Duration = Duration::from_secs(60);

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(run());
    // A read of standard input cannot be cancelled, and would keep this process from reporting the error.
    runtime.shutdown_background();
    done
}

async fn run() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [socket, state, folder, what] = arguments.as_slice() else {
        bail!("usage: qapi-example SOCKET STATE FOLDER resume|isolation");
    };
    let state = StateFile::new(state);
    let outside = Outside::start();
    let options = BlockOptions {
        aio: "threads",
        cache_direct: false,
        cache_no_flush: false,
        queues: 1,
        queue_size: None,
    };
    let saved = state.read()?;
    let machine = match saved {
        Some(saved) => iothread_hotplug::Hotplug::restore(saved, options, QemuVersion::OLDEST),
        None => {
            let threads = (0..THREADS).map(IoThreadId::indep).collect();
            let pool = Pool::new(threads, slots()?)?;
            iothread_hotplug::Hotplug::new(pool, options, QemuVersion::OLDEST)
        }
    };
    let (hotplug, mut driver) = drive(machine);
    let mut vm = QapiVm::connect(Path::new(socket), outside.clone(), state).await?;
    let served = tokio::spawn(async move {
        loop {
            match driver.serve(&mut vm).await {
                Stopped::Closed(why) => eprintln!("{why}"),
                stopped => return anyhow::Error::from(stopped),
            }
            if let Err(error) = vm.reconnect().await {
                return error;
            }
        }
    });
    let manager = Manager {
        hotplug,
        folder: folder.into(),
    };
    tokio::select! {
        stopped = served => Err(stopped?),
        done = manager.run(&outside, what == "isolation") => done,
    }
}

/// The port of the disk that no guest sees comes first: PCI Express has one device at each port, with the
/// number 0.
fn slots() -> Result<SlotTable> {
    let unseen = PciSlot::new(root_port_id(PORTS), 1)?;
    let ports = SlotTable::root_ports(PORTS);
    Ok(SlotTable::new(
        [unseen].into_iter().chain(ports.all().iter().cloned()),
    )?)
}

#[derive(Clone)]
struct Manager {
    hotplug: Hotplug,
    folder: PathBuf,
}

impl Manager {
    async fn run(&self, outside: &Outside, measures: bool) -> Result<()> {
        if measures {
            let report = self.isolation().await?;
            outside.report(report).await;
            return Ok(());
        }
        let differences = self.resume().await?;
        let mut report = json!({"differences": differences});
        // QEMU's ACPI hotplug shows a request to eject at each later notification, until the guest has
        // ejected. A guest that saw it twice ejects the next disk in that slot, too.
        while outside.report(report).await["settle"] == true {
            let start = |machine: &mut iothread_hotplug::Hotplug, now: Instant| {
                machine.settle(Deadline::starting(now, GRANTED), now)
            };
            let removed = self.hotplug.run(start).await?.removed;
            let removed = removed.iter().map(DeviceId::as_str);
            report = json!({"removed": removed.collect::<Vec<_>>()});
        }
        let disks = (0..PORTS).map(|n| {
            let manager = self.clone();
            tokio::spawn(async move { manager.churn(n).await })
        });
        for disk in disks.collect::<Vec<_>>() {
            disk.await??;
        }
        Ok(())
    }

    /// Goes on from the saved state: what is half attached or half detached is detached.
    async fn resume(&self) -> Result<Vec<String>> {
        let hotplug = &self.hotplug;
        let stuck = id(STUCK)?;
        if hotplug.look(|machine| machine.state_of(&stuck).is_none()) {
            self.attach(stuck).await?;
        }
        let found =
            hotplug.run(|machine, now| machine.reconcile(Deadline::starting(now, GRANTED), now));
        let found = found.await?;
        hotplug
            .run(|machine, now| machine.settle(Deadline::starting(now, GRANTED), now))
            .await?;
        let unfinished: Vec<DeviceId> = hotplug.look(|machine| {
            let disks = machine
                .disks()
                .filter(|(_, state)| *state != DiskState::Attached);
            disks.map(|(id, _)| id.clone()).collect()
        });
        for id in unfinished {
            self.detach(id).await?;
        }
        Ok(found.iter().map(ToString::to_string).collect())
    }

    async fn attach(&self, id: DeviceId) -> Result<()> {
        let disk = DiskSpec::new(id.clone(), self.folder.join(id.as_str()));
        let start = |machine: &mut iothread_hotplug::Hotplug, now: Instant| {
            let by = Deadline::starting(now, GRANTED);
            machine.attach(&disk, &Placement::LeastLoaded, by, now)
        };
        self.hotplug.run(start).await?;
        Ok(())
    }

    async fn detach(&self, id: DeviceId) -> Result<()> {
        let start = |machine: &mut iothread_hotplug::Hotplug, now: Instant| {
            machine.detach(&id, Deadline::starting(now, GRANTED), now)
        };
        Ok(self.hotplug.run(start).await?)
    }

    /// Detaches and attaches a disk until this process is killed.
    async fn churn(&self, n: usize) -> Result<()> {
        let id = id(&format!("disk{n}"))?;
        loop {
            match self.hotplug.look(|machine| machine.state_of(&id)) {
                None => self.attach(id.clone()).await?,
                Some(_) => self.detach(id.clone()).await?,
            }
        }
    }

    /// Measures how long 15 disks take to be attached and detached, all at once, alone and beside a detach
    /// that is never answered.
    async fn isolation(&self) -> Result<serde_json::Value> {
        self.attach(id(STUCK)?).await?;
        // The first is slower: the guest loads drivers.
        self.cycle().await?;
        let mut alone = Vec::new();
        for _ in 0..ROUNDS {
            alone.push(self.cycle().await?);
        }
        let stuck = self.clone();
        let stuck = tokio::spawn(async move { stuck.detach(id(STUCK)?).await });
        let mut beside = Vec::new();
        for _ in 0..ROUNDS {
            beside.push(self.cycle().await?);
        }
        let id = id(STUCK)?;
        let state = self.hotplug.look(|machine| machine.state_of(&id));
        let is_pending = !stuck.is_finished() && state == Some(DiskState::RemovalPending);
        Ok(json!({"alone_ms": alone, "beside_ms": beside, "is_pending": is_pending}))
    }

    async fn cycle(&self) -> Result<u64> {
        let start = Instant::now();
        let disks = (1..PORTS).map(|n| {
            let manager = self.clone();
            tokio::spawn(async move {
                let id = id(&format!("disk{n}"))?;
                manager.attach(id.clone()).await?;
                manager.detach(id).await
            })
        });
        for disk in disks.collect::<Vec<_>>() {
            disk.await?.context("a disk beside the one that is stuck")?;
        }
        Ok(u64::try_from(start.elapsed().as_millis())?)
    }
}

fn id(name: &str) -> Result<DeviceId> {
    Ok(DeviceId::new(name)?)
}
