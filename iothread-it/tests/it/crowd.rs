//! Forty disks that come and go in a random order, with several unplugs outstanding.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::{Topology, VmSpec};
use iothread_hotplug::DiskSpec;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::command::{Cont, Stop};
use qmp_client::wait::Deadline;

use crate::fixture::{Bench, cases, extent, is_outstanding, shape, soon};

cases!(q35 Q35 forty_disks_come_and_go_in_a_random_order);

const DISKS: usize = 40;
const OPERATIONS: usize = 160;

/// How many unplugs may be outstanding.
const OUTSTANDING: usize = 4;

/// Enough for QEMU to take a request.
const A_MOMENT: Duration = Duration::from_millis(200);

fn forty_disks_come_and_go_in_a_random_order(topology: Topology) -> Result<()> {
    let shape = VmSpec {
        root_ports: DISKS,
        ..shape(topology)?
    };
    Bench::run_shape(&shape, |bench| {
        let mut random = Random::new()?;
        let disks = (0..DISKS).map(|n| bench.disk(&format!("disk{n}")));
        let disks: Vec<DiskSpec> = disks.collect::<Result<_>>()?;
        let mut crowd = Crowd::default();
        for operation in 0..OPERATIONS {
            let disk = &disks[random.below(DISKS)];
            let context = || {
                format!(
                    "operation {operation} of seed {:#x}, {}",
                    random.seed, disk.id
                )
            };
            let placement = placement(operation);
            crowd.turn(bench, disk, &placement).with_context(context)?;
        }
        crowd.empty(bench, &disks)?;
        ensure!(bench.vm.pool().free_slots() == DISKS, "a slot is lost");
        bench.still_works()
    })
}

/// The disks that are attached, and those whose unplug is outstanding.
#[derive(Default)]
struct Crowd {
    attached: BTreeSet<String>,
    leaving: BTreeSet<String>,
    /// Those that were written to before.
    written: BTreeSet<String>,
}

impl Crowd {
    /// Attaches a disk that is not there, requests the unplug of one that is, or awaits one that is leaving.
    fn turn(&mut self, bench: &mut Bench, disk: &DiskSpec, placement: &Placement) -> Result<()> {
        let id = disk.id.to_string();
        if self.leaving.contains(&id) || self.leaving.len() >= OUTSTANDING {
            return self.settle(bench);
        }
        if self.attached.contains(&id) {
            return self.request_unplugs(bench, &id);
        }
        bench.attach(disk, placement)?;
        let extent = extent(&disk.id, 64 << 10);
        match self.written.insert(id.clone()) {
            true => bench.vm.agent().write(&extent, soon())?,
            false => bench.vm.agent().verify(&extent, soon())?,
        };
        self.attached.insert(id);
        Ok(())
    }

    /// Requests the unplug of a disk and of its next ones. The guest is stopped meanwhile, so that it completes
    /// none before the next is requested.
    fn request_unplugs(&mut self, bench: &mut Bench, first: &str) -> Result<()> {
        bench.vm.qmp().execute(&Stop {}, soon())?;
        let room = OUTSTANDING - self.leaving.len();
        let ids: Vec<String> = self
            .attached
            .range(first.to_owned()..)
            .take(room)
            .cloned()
            .collect();
        for id in ids {
            let early = bench
                .vm
                .detach_by(&DeviceId::new(&id)?, Deadline::after(A_MOMENT));
            let is_outstanding = early.as_ref().is_err_and(is_outstanding);
            ensure!(is_outstanding, "a stopped guest released {id}: {early:?}");
            self.attached.remove(&id);
            self.leaving.insert(id);
        }
        bench.vm.qmp().execute(&Cont {}, soon())?;
        Ok(())
    }

    /// Takes what has come until no unplug is outstanding.
    fn settle(&mut self, bench: &mut Bench) -> Result<()> {
        let patience = soon();
        while !self.leaving.is_empty() {
            ensure!(!patience.has_passed(), "{:?} do not leave", self.leaving);
            let progress = bench.vm.process_unplug_events()?;
            ensure!(progress.rejected.is_empty(), "{progress:?}");
            for id in progress.removed {
                ensure!(self.leaving.remove(id.as_str()), "{id} left unasked");
            }
        }
        Ok(())
    }

    fn empty(mut self, bench: &mut Bench, disks: &[DiskSpec]) -> Result<()> {
        self.settle(bench)?;
        for disk in disks {
            if self.attached.contains(disk.id.as_str()) {
                bench.detach(disk)?;
            }
        }
        Ok(())
    }
}

fn placement(turn: usize) -> Placement {
    match turn % 5 {
        0 => Placement::First,
        1 => Placement::RoundRobin,
        2 => Placement::LeastLoaded,
        3 => Placement::MainLoop,
        _ => Placement::Pinned(IoThreadId::indep(3)),
    }
}

/// Numbers of splitmix64, from a seed of this moment.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Result<Self> {
        let now = std::time::UNIX_EPOCH.elapsed()?;
        let seed = u64::from(now.subsec_nanos());
        Ok(Self { seed, state: seed })
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = limit as u64;
        usize::try_from((word ^ (word >> 31)) % limit).unwrap_or_default()
    }
}
