//! The operations.

mod attach;
mod close_node;
mod gate;
mod moving;
mod node;
mod thread;

use iothread_pool::{Allocation, DeviceId, IoThreadId};
use qmp_client::QmpError;

pub(crate) use attach::{Attach, Wanted};
pub(crate) use close_node::CloseNode;
pub(crate) use moving::Move;
pub(crate) use node::{MoveNode, OpenNode};
pub(crate) use thread::{AddThread, RemoveThread};

use crate::action::OperationId;
use crate::close::Close;
use crate::context::{Context, Input, Progress};
use crate::error::{
    AttachError, DetachError, MoveError, RemoveThreadError, Step, StepError, UnplugEventsError,
    UnplugProgress,
};
use crate::plug::{PERIPHERAL, not_started};
use crate::reconcile::{Difference, Reconcile};
use crate::removal::Removal;

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// Of an attach, of a node that was opened, or of an export: what it was allocated.
    Attach(Result<Allocation, AttachError>),
    /// Of a detach, or of a node that was closed.
    Detach(Result<(), DetachError>),
    /// Of a move of a disk or a node: what it was allocated.
    Move(Result<Allocation, MoveError>),
    /// Of a thread that was added.
    AddThread(Result<IoThreadId, QmpError>),
    /// Of a thread that was removed.
    RemoveThread(Result<(), RemoveThreadError>),
    /// Of removals that were completed.
    Settle(Result<UnplugProgress, UnplugEventsError>),
    /// Of a comparison with QEMU.
    Reconcile(Result<Vec<Difference>, QmpError>),
}

/// How an operation ends.
#[derive(Debug)]
pub(crate) enum Done {
    Outcome(Outcome),
    /// The list of devices has come, for a settle.
    Listed(Result<(), QmpError>),
    /// A removal of a settle has ended, with what it removed.
    Completed {
        settle: OperationId,
        removed: Vec<DeviceId>,
        error: Option<DetachError>,
    },
}

/// An operation.
#[derive(Debug)]
pub(crate) enum Task {
    Attach(Attach, DeviceId),
    Detach(Removal, DeviceId),
    Move(Box<Move>),
    Open(OpenNode),
    Close(CloseNode),
    MoveNode(MoveNode),
    AddThread(AddThread),
    RemoveThread(RemoveThread),
    /// The list of devices, for a settle, and when it was asked for.
    List(u64),
    /// A removal of a settle, and what it removes.
    Complete {
        settle: OperationId,
        close: Close,
        going: Vec<DeviceId>,
    },
    Reconcile(Reconcile),
}

impl Task {
    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Progress<Done> {
        if matches!(input, Input::Start)
            && let Err(refused) = self.claim(cx)
        {
            return Progress::Done(Done::Outcome(refused));
        }
        match self {
            Self::Attach(attach, _) => attach.step(cx, input).map(Outcome::Attach),
            Self::Detach(removal, _) => removal.step(cx, input).map(Outcome::Detach),
            Self::Move(moving) => moving.step(cx, input).map(Outcome::Move),
            Self::Open(open) => open.step(cx, input).map(Outcome::Attach),
            Self::Close(close) => close.step(cx, input).map(Outcome::Detach),
            Self::MoveNode(moving) => moving.step(cx, input).map(Outcome::Move),
            Self::AddThread(add) => add.step(cx, input).map(Outcome::AddThread),
            Self::RemoveThread(remove) => remove.step(cx, input).map(Outcome::RemoveThread),
            Self::Reconcile(reconcile) => reconcile.step(cx, input).map(Outcome::Reconcile),
            Self::List(asked) => match input {
                Input::Reply(reply) => Progress::Done(Done::Listed(cx.note_listed(reply, *asked))),
                _ => cx.send(&PERIPHERAL),
            },
            Self::Complete {
                settle,
                close,
                going,
            } => match close.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(result) => Progress::Done(Done::Completed {
                    settle: *settle,
                    removed: going
                        .drain(..)
                        .filter(|id| !cx.core.devices.contains_key(id))
                        .collect(),
                    error: result.err(),
                }),
            },
        }
    }

    /// Returns whether it waits for the guest to find this device.
    pub(crate) fn plugs(&self, device: &DeviceId) -> bool {
        match self {
            Self::Attach(_, id) => id == device,
            Self::Move(moving) => moving.id() == device,
            _ => false,
        }
    }

    /// Returns whether it reads the list of all devices.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Reconcile(_))
    }

    /// Claims what the operation works on.
    fn claim(&self, cx: &mut Context<'_>) -> Result<(), Outcome> {
        let is_free = |cx: &mut Context<'_>, id: &DeviceId| cx.claim(id).then_some(()).ok_or(());
        let busy_detach = |id: &DeviceId| {
            let device = id.clone();
            Outcome::Detach(Err(DetachError::Busy { device }))
        };
        let busy_attach = |id: &DeviceId| {
            let busy = StepError::Busy { device: id.clone() };
            Outcome::Attach(Err(not_started(id, (Step::Lease, busy))))
        };
        let busy_move = |id: &DeviceId| {
            let device = id.clone();
            Outcome::Move(Err(MoveError::Busy { device }))
        };
        match self {
            Self::Attach(_, id) => is_free(cx, id).map_err(|()| busy_attach(id)),
            Self::Open(open) => is_free(cx, open.id()).map_err(|()| busy_attach(open.id())),
            Self::Detach(_, id) => is_free(cx, id).map_err(|()| busy_detach(id)),
            Self::Close(close) => is_free(cx, close.id()).map_err(|()| busy_detach(close.id())),
            Self::Move(moving) => is_free(cx, moving.id()).map_err(|()| busy_move(moving.id())),
            Self::MoveNode(moving) => is_free(cx, &moving.id).map_err(|()| busy_move(&moving.id)),
            Self::AddThread(add) => {
                cx.claim_thread(add.id());
                Ok(())
            }
            Self::RemoveThread(remove) => match cx.claim_thread(remove.id()) {
                true => Ok(()),
                false => {
                    let thread = remove.id().clone();
                    let busy = RemoveThreadError::Busy { thread };
                    Err(Outcome::RemoveThread(Err(busy)))
                }
            },
            Self::List(_) | Self::Complete { .. } | Self::Reconcile(_) => Ok(()),
        }
    }
}

impl<T> Progress<T> {
    /// Makes the result of an operation.
    fn map(self, outcome: impl FnOnce(T) -> Outcome) -> Progress<Done> {
        match self {
            Self::Waits(wait) => Progress::Waits(wait),
            Self::Done(result) => Progress::Done(Done::Outcome(outcome(result))),
        }
    }
}
