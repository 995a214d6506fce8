//! Attach: what a device needs is leased, and it is plugged in. If a step fails, what was done is
//! undone by the code that detaches.

use iothread_pool::{Allocation, DeviceId, Placement, PoolError};
use qmp_client::Driver;

use super::gate::Gate;
use crate::action::GuestAddress;
use crate::context::{Context, Input, Progress};
use crate::disk::{DiskSpec, scsi_address};
use crate::error::{AttachError, Step, StepError};
use crate::plug::{Failure, Plug, mapping_of, not_started};
use crate::removal::Removal;
use crate::scsi::{ScsiController, balloon};
use crate::state::DiskState;

/// What is attached.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Disk(DiskSpec, Placement),
    Controller(ScsiController, Placement),
    DiskOn(DiskSpec, DeviceId),
    Balloon(DeviceId, Placement),
}

impl Wanted {
    pub(crate) fn id(&self) -> &DeviceId {
        match self {
            Self::Disk(disk, _) | Self::DiskOn(disk, _) => &disk.id,
            Self::Controller(controller, _) => &controller.id,
            Self::Balloon(id, _) => id,
        }
    }

    fn gate(&self) -> Gate {
        match self {
            Self::Disk(_, placement) => Gate::of(Driver::VirtioBlk, placement),
            Self::Controller(_, placement) => Gate::of(Driver::VirtioScsi, placement),
            Self::Balloon(_, placement) => Gate::of(Driver::VirtioBalloon, placement),
            Self::DiskOn(..) => Gate::Open,
        }
    }
}

/// An attach.
#[derive(Debug)]
pub(crate) struct Attach {
    wanted: Wanted,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Gate(Gate),
    Plug(Box<Plug>, Allocation),
    /// Undone, after this failure.
    Rollback(Option<Failure>, Removal),
}

impl Attach {
    pub(crate) fn new(wanted: Wanted) -> Self {
        let stage = Stage::Gate(wanted.gate());
        Self { wanted, stage }
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<Allocation, AttachError>> {
        match &mut self.stage {
            Stage::Gate(gate) => match gate.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(Ok(())) => self.begin(cx),
                Progress::Done(Err(error)) => self.refuse((Step::Lease, error)),
            },
            Stage::Plug(plug, allocation) => match plug.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(Ok(())) => Progress::Done(Ok(allocation.clone())),
                Progress::Done(Err(failure)) => {
                    let removal = Removal::new(self.wanted.id().clone());
                    self.stage = Stage::Rollback(Some(failure), removal);
                    self.step(cx, Input::Start)
                }
            },
            Stage::Rollback(failure, removal) => match removal.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(rollback) => {
                    let (step, source) = failure.take().expect("a rollback ends once");
                    Progress::Done(Err(AttachError {
                        device: self.wanted.id().clone(),
                        step,
                        source,
                        rollback: rollback.map_err(Box::new),
                    }))
                }
            },
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Progress<Result<Allocation, AttachError>> {
        match self.lease(cx) {
            Ok((plug, allocation)) => {
                self.stage = Stage::Plug(Box::new(plug), allocation);
                self.step(cx, Input::Start)
            }
            Err(failure) => self.refuse(failure),
        }
    }

    fn refuse(&self, failure: Failure) -> Progress<Result<Allocation, AttachError>> {
        Progress::Done(Err(not_started(self.wanted.id(), failure)))
    }

    /// Takes what the device needs of the pool.
    fn lease(&self, cx: &mut Context<'_>) -> Result<(Plug, Allocation), Failure> {
        let at_lease = |error: StepError| (Step::Lease, error);
        let refused = |error: PoolError| at_lease(error.into());
        let id = self.wanted.id();
        let core = &mut *cx.core;
        let options = core.options;
        match &self.wanted {
            Wanted::Disk(disk, placement) => {
                disk.check_serial().map_err(at_lease)?;
                let node = disk.node(&options).map_err(|e| (Step::BlockdevAdd, e))?;
                let queues = disk.queues.unwrap_or(options.queues);
                let lease = core.pool.lease(id, queues, placement).map_err(refused)?;
                let address = GuestAddress::Pci(lease.slot.clone());
                let plug = Plug {
                    mapping: mapping_of(&lease.assignment).cloned(),
                    guest: Some(disk.in_guest(address)),
                    ..Plug::new(id.clone(), Some(node), disk.device(&lease, &options))
                };
                Ok((plug, Allocation::Device(lease)))
            }
            Wanted::Controller(controller, placement) => {
                let queues = controller.queues.unwrap_or(options.queues);
                let lease = core.pool.lease_controller(id, queues, placement);
                let lease = lease.map_err(refused)?;
                let plug = Plug {
                    mapping: mapping_of(&lease.assignment).cloned(),
                    ..Plug::new(id.clone(), None, controller.device(&lease, &options))
                };
                Ok((plug, Allocation::Controller(lease)))
            }
            Wanted::Balloon(_, placement) => {
                let lease = core.pool.lease(id, 1, placement).map_err(refused)?;
                let plug = Plug::new(id.clone(), None, balloon(id, &lease));
                Ok((plug, Allocation::Device(lease)))
            }
            Wanted::DiskOn(disk, controller) => {
                let device = controller.clone();
                if core.is_busy(controller) {
                    return Err(at_lease(StepError::Busy { device }));
                }
                let known = core.devices.get(controller);
                if known.is_some_and(|known| known.state != DiskState::Attached) {
                    let controller = device;
                    return Err(at_lease(StepError::ControllerRemovalPending { controller }));
                }
                let node = disk.node(&options).map_err(|e| (Step::BlockdevAdd, e))?;
                let address = core.pool.lease_address(id, controller);
                let address = address.map_err(refused)?;
                let lease = core.pool.lease_of(controller);
                let slot = lease.map(|lease| lease.slot.clone());
                let guest = slot.map(|slot| disk.in_guest(scsi_address(slot, &address)));
                let plug = Plug {
                    guest,
                    ..Plug::new(id.clone(), Some(node), disk.device_on(&address))
                };
                Ok((plug, Allocation::Scsi(address)))
            }
        }
    }
}
