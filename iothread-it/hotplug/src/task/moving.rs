//! Moves a disk from one thread to another.
//!
//! No released QEMU moves an attached disk: `x-blockdev-set-iothread` fails for a node that a device
//! uses, with and without `force`, running and stopped (7.2, 10.0 and 11.1). So the disk is
//! hot-unplugged and hot-plugged again, and the guest must cooperate. It loses the disk meanwhile:
//! the data is kept, open files and mounts are not.

use iothread_pool::{Allocation, Assignment, DeviceId, Lease, Placement, Pool};
use qmp_client::Driver;

use super::attach::{Attach, Wanted};
use super::gate::Gate;
use crate::context::{Context, Input, Progress};
use crate::disk::DiskSpec;
use crate::error::{AttachError, MoveError};
use crate::removal::Removal;

type Outcome = Progress<Result<Allocation, MoveError>>;

/// A move of a disk.
#[derive(Debug)]
pub(crate) struct Move {
    disk: DiskSpec,
    placement: Placement,
    /// Its lease, and the placement that chooses it again.
    former: Option<(Lease, Placement)>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Gate(Gate),
    Detach(Removal),
    Attach(Attach),
    /// To its former threads, after this failure.
    Back(Option<Box<AttachError>>, Attach),
}

impl Move {
    pub(crate) fn new(disk: DiskSpec, placement: Placement) -> Self {
        let stage = Stage::Gate(Gate::of(Driver::VirtioBlk, &placement));
        Self {
            disk,
            placement,
            former: None,
            stage,
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.disk.id
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Outcome {
        match &mut self.stage {
            Stage::Gate(gate) => {
                let gate = *gate;
                match self.check(cx).map(|()| gate.step(cx, input)) {
                    Err(error) => Progress::Done(Err(error)),
                    Ok(Progress::Waits(wait)) => Progress::Waits(wait),
                    Ok(Progress::Done(Err(error))) => {
                        Progress::Done(Err(MoveError::Unsupported(error)))
                    }
                    Ok(Progress::Done(Ok(()))) => self.detach(cx),
                }
            }
            Stage::Detach(removal) => match removal.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(Ok(())) => {
                    self.stage = Stage::Attach(self.attach());
                    self.step(cx, Input::Start)
                }
                Progress::Done(Err(error)) => Progress::Done(Err(error.into())),
            },
            Stage::Attach(attach) => match attach.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(Ok(allocation)) => Progress::Done(Ok(allocation)),
                Progress::Done(Err(error)) => self.go_back(cx, Box::new(error)),
            },
            Stage::Back(source, attach) => match attach.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(back) => Progress::Done(Err(MoveError::Attach {
                    source: source.take().expect("the way back ends once"),
                    back: back.map_err(Box::new).map(|allocation| match allocation {
                        Allocation::Device(lease) | Allocation::Controller(lease) => lease,
                        Allocation::Thread(_) | Allocation::Scsi(_) => {
                            unreachable!("a disk has a slot")
                        }
                    }),
                })),
            },
        }
    }

    /// Finds what the disk has now.
    fn check(&mut self, cx: &Context<'_>) -> Result<(), MoveError> {
        let id = &self.disk.id;
        let known = cx.core.devices.get(id);
        let is_disk = known.is_some_and(|known| known.node.is_some() && known.state.has_device());
        let pool = &cx.core.pool;
        let before = match pool.allocation_of(id) {
            Some(Allocation::Device(lease)) if is_disk => lease.clone(),
            _ => return Err(MoveError::NotAttached { device: id.clone() }),
        };
        let disk = &self.disk;
        let checked = disk
            .check_serial()
            .and_then(|()| disk.node(&cx.core.options));
        checked.map_err(MoveError::Unsupported)?;
        let former = former_placement(pool, id, &before);
        self.former = Some((before, former));
        Ok(())
    }

    /// Tries the new placement on a copy of the pool, and then begins.
    fn detach(&mut self, cx: &mut Context<'_>) -> Outcome {
        let id = self.disk.id.clone();
        let Some((before, _)) = &self.former else {
            return Progress::Done(Err(MoveError::NotAttached { device: id }));
        };
        let queues = *self.disk.queues.get_or_insert(before.queues);
        let mut trial = cx.core.pool.clone();
        let tried = trial
            .release(&id)
            .and_then(|_| trial.lease(&id, queues, &self.placement));
        if let Err(error) = tried {
            return Progress::Done(Err(error.into()));
        }
        self.stage = Stage::Detach(Removal::new(id));
        self.step(cx, Input::Start)
    }

    fn attach(&self) -> Attach {
        Attach::new(Wanted::Disk(self.disk.clone(), self.placement.clone()))
    }

    fn go_back(&mut self, cx: &mut Context<'_>, source: Box<AttachError>) -> Outcome {
        let Some((before, former)) = self.former.take().filter(|_| source.rollback.is_ok()) else {
            return Progress::Done(Err(MoveError::RollbackPending(source)));
        };
        let disk = DiskSpec {
            queues: Some(before.queues),
            ..self.disk.clone()
        };
        self.stage = Stage::Back(Some(source), Attach::new(Wanted::Disk(disk, former)));
        self.step(cx, Input::Start)
    }
}

/// Returns the placement that chooses what serves a disk now.
fn former_placement(pool: &Pool, disk: &DeviceId, lease: &Lease) -> Placement {
    let dedicated = || {
        let mut threads = pool.state().threads.into_iter();
        threads.any(|thread| thread.dedicated_to.as_ref() == Some(disk))
    };
    match &lease.assignment {
        Assignment::MainLoop => Placement::MainLoop,
        Assignment::Thread(_) if dedicated() => Placement::Dedicated,
        Assignment::Thread(thread) => Placement::Pinned(thread.clone()),
        Assignment::Mapped(mapping) => Placement::Mapped(mapping.clone()),
    }
}
