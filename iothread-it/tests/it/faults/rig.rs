//! One VM behind a proxy, and one disk that is disturbed as it comes or goes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::guest::Agent;
use guest_vm::qemu::{Topology, VmSpec};
use iothread_hotplug::blocking::Hotplug;
use iothread_hotplug::{AttachError, DetachError, DiskSpec, DiskState, Step, StepError};
use iothread_pool::Placement;
use nix::unistd::Pid;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};
use serde_json::json;

use super::proxy::{Fault, Point, Proxy};
use crate::fixture::{Bench, shape, soon};

/// How long a disturbed attach or detach has. An undisturbed one takes a few tenths.
const SHORT: Duration = Duration::from_secs(3);

/// A VM behind a proxy, and the one disk that comes and goes.
pub(super) struct Rig {
    pub(super) bench: Bench,
    pub(super) proxy: Proxy,
    pub(super) disk: DiskSpec,
    /// The monitor, once the VM's own has ended.
    second: Option<Qmp>,
    pub(super) free_slots: usize,
}

/// How an attach or a detach failed.
#[derive(Debug)]
pub(super) struct Failed {
    step: Step,
    error: QmpError,
}

impl Failed {
    pub(super) fn at(&self, step: Step, right: impl Fn(&QmpError) -> bool) -> Result<()> {
        ensure!(
            self.step == step && right(&self.error),
            "failed at {} and not at {step}: {}",
            self.step,
            self.error
        );
        Ok(())
    }
}

impl Rig {
    pub(super) fn boot(topology: Topology) -> Result<Self> {
        Self::boot_shape(&shape(topology)?)
    }

    fn boot_shape(shape: &VmSpec) -> Result<Self> {
        let mut proxy = None;
        let bench = Bench::boot_with_monitor(shape, |qemu| {
            let (started, client) = Proxy::start(qemu)?;
            proxy = Some(started);
            Ok(client)
        })?;
        Ok(Self {
            disk: bench.disk("disk0")?,
            free_slots: bench.vm.pool().free_slots(),
            proxy: proxy.context("the VM has not started the proxy")?,
            bench,
            second: None,
        })
    }

    pub(super) fn run(
        topology: Topology,
        case: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::run_shape(&shape(topology)?, case)
    }

    pub(super) fn run_shape(
        shape: &VmSpec,
        case: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut rig = Self::boot_shape(shape)?;
        let outcome = case(&mut rig);
        outcome.with_context(|| format!("the case failed{}", rig.bench.vm.exit_report()))
    }

    pub(super) fn qemu(&self) -> Pid {
        Pid::from_raw(self.bench.vm.process().pid())
    }

    /// Returns what attaches, the monitor and the agent.
    pub(super) fn parts(&mut self) -> (&mut Hotplug, &Qmp, &Agent) {
        let (hotplug, qmp, agent) = self.bench.vm.parts();
        (hotplug, self.second.as_ref().unwrap_or(qmp), agent)
    }

    pub(super) fn attach(&mut self, deadline: Deadline) -> Result<(), AttachError> {
        let disk = self.disk.clone();
        let (hotplug, qmp, agent) = self.parts();
        hotplug
            .attach(qmp, agent, &disk, &Placement::First, deadline)
            .map(|_| ())
    }

    pub(super) fn detach(&mut self, deadline: Deadline) -> Result<(), DetachError> {
        let id = self.disk.id.clone();
        let (hotplug, qmp, _) = self.parts();
        hotplug.detach(qmp, &id, deadline)
    }

    pub(super) fn reconnect(&mut self) -> Result<()> {
        self.second = Some(Qmp::negotiate(self.proxy.reconnect()?, soon())?);
        Ok(())
    }

    /// Attaches and, if that is not what is disturbed, detaches. Returns how it failed, which it
    /// must.
    pub(super) fn disturbed(&mut self, point: Point, fault: Fault) -> Result<Failed> {
        self.proxy.arm(point, fault);
        let short = || Deadline::after(SHORT);
        let outcome = self.attach(match point {
            Point::Request("blockdev-add" | "device_add")
            | Point::Reply("blockdev-add" | "device_add") => short(),
            _ => soon(),
        });
        let failed = match outcome {
            Err(error) => {
                let step = error.step;
                let StepError::Qmp(error) = error.source else {
                    bail!("{error}: {:?}", error.source);
                };
                Failed { step, error }
            }
            Ok(()) => match self.detach(short()) {
                Ok(()) => bail!("nothing failed"),
                Err(DetachError::Failed { step, source, .. }) => Failed {
                    step,
                    error: source,
                },
                Err(DetachError::Pending { source, .. }) => Failed {
                    step: Step::DeviceDeleted,
                    error: source,
                },
                Err(other) => bail!("{other}"),
            },
        };
        ensure!(self.proxy.struck(), "nothing was disturbed");
        Ok(failed)
    }

    /// Checks that nothing of QEMU's is forgotten, takes off what is left, and goes on.
    pub(super) fn recovers(&mut self) -> Result<()> {
        let known = self.bench.vm.state_of(&self.disk.id);
        let has = self.has()?;
        ensure!(
            rank(has) <= rank(known),
            "QEMU has {has:?}, known is {known:?}"
        );
        let leased = self.bench.vm.pool().lease_of(&self.disk.id).is_some();
        ensure!(
            leased == known.is_some(),
            "leased: {leased}, known is {known:?}"
        );
        if known.is_some() {
            self.detach(soon())?;
        }
        self.nothing_is_left()?;
        self.comes_and_goes()
    }

    pub(super) fn comes_and_goes(&mut self) -> Result<()> {
        self.attach(soon())?;
        ensure!(self.has()? == Some(DiskState::Attached));
        self.detach(soon())?;
        self.nothing_is_left()
    }

    pub(super) fn nothing_is_left(&self) -> Result<()> {
        ensure!(self.has()?.is_none(), "QEMU has {:?}", self.has()?);
        ensure!(self.bench.vm.state_of(&self.disk.id).is_none());
        let free = self.bench.vm.pool().free_slots();
        ensure!(free == self.free_slots, "{free} slots are free");
        Ok(())
    }

    /// Asks QEMU, past the client, what it has of the disk.
    pub(super) fn has(&self) -> Result<Option<DiskState>> {
        let devices = json!({"path": "/machine/peripheral"});
        let devices = self.proxy.ask("qom-list", &devices)?;
        let nodes = json!({"flat": true});
        let nodes = self.proxy.ask("query-named-block-nodes", &nodes)?;
        let has = |list: &serde_json::Value, key: &str| {
            let mut items = list.as_array().into_iter().flatten();
            items.any(|item| item[key] == self.disk.id.as_str())
        };
        let node = has(&nodes, "node-name");
        Ok(if has(&devices, "name") {
            ensure!(node, "a device without its node");
            Some(DiskState::Attached)
        } else {
            node.then_some(DiskState::NodeOnly)
        })
    }
}

/// How much a state is. A removal that is pending takes nothing away yet.
fn rank(state: Option<DiskState>) -> u8 {
    match state {
        None => 0,
        Some(DiskState::NodeOnly) => 1,
        Some(DiskState::Attached | DiskState::RemovalPending) => 2,
    }
}
