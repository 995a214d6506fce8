//! The end of a device that QEMU has removed: its image is closed, and its thread and slot are freed.

use std::collections::VecDeque;

use iothread_pool::{DeviceId, Pool};
use qmp_client::QmpError;
use qmp_client::command::{BlockdevDel, QueryBlock, QueryNamedBlockNodes};
use serde_json::Value;

use crate::context::{Context, Input, Progress, Wait};
use crate::error::{DetachError, Step, failed};
use crate::plug::is_refusal;
use crate::state::{DiskState, News};
use crate::wire::read_reply;

type Outcome = Progress<Result<(), DetachError>>;

/// Closes the image behind a device that is gone, if it has one, and gives back its thread and its
/// slot. What was on a controller went with it, and is closed first.
#[derive(Debug)]
pub(crate) struct Close {
    left: VecDeque<DeviceId>,
    /// Whether DEVICE_DELETED is awaited, if the device still uses its node.
    awaits_event: bool,
    /// Whether that event is to come for the one that is being closed.
    may_come: bool,
    /// How often events had been lost when the users of its node were listed.
    listed_at: Option<u64>,
    at: At,
}

#[derive(Debug)]
enum At {
    Start,
    Node(NodeDeletion),
    /// The users of nodes, after this refusal.
    Users(QmpError),
    /// DEVICE_DELETED, after this refusal.
    Event(QmpError),
}

impl Close {
    pub(crate) fn new(pool: &Pool, id: &DeviceId, awaits_event: bool) -> Self {
        let on_it = pool.disks_on(id).cloned();
        Self {
            left: on_it.chain([id.clone()]).collect(),
            awaits_event,
            may_come: false,
            listed_at: None,
            at: At::Start,
        }
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Outcome {
        match (std::mem::replace(&mut self.at, At::Start), input) {
            (At::Start, _) => self.next(cx),
            (At::Node(deletion), input) => self.delete_node(cx, deletion, input),
            (At::Users(refusal), Input::Reply(reply)) => self.users(cx, refusal, reply),
            (At::Event(refusal), Input::TimedOut) => self.fail(refusal),
            (At::Event(_), Input::Reply(Err(lost))) => self.fail(lost),
            (At::Event(refusal), _) => self.await_event(cx, refusal),
            (at, input) => unreachable!("{at:?} got {input:?}"),
        }
    }

    /// Begins with the next device.
    fn next(&mut self, cx: &mut Context<'_>) -> Outcome {
        let Some(id) = self.left.front().cloned() else {
            return Progress::Done(Ok(()));
        };
        if !cx.claim(&id) {
            return Progress::Done(Err(DetachError::Busy { device: id }));
        }
        let Some(device) = cx.core.devices.get_mut(&id) else {
            // Its lease alone is left.
            return self.release(cx, &id);
        };
        device.note_gone();
        self.may_come = device.news == Some(News::Unlisted);
        device.state = DiskState::NodeOnly;
        self.listed_at = None;
        if device.node.is_none() {
            return self.release(cx, &id);
        }
        self.delete_node(cx, NodeDeletion::new(id), Input::Start)
    }

    fn delete_node(
        &mut self,
        cx: &mut Context<'_>,
        mut deletion: NodeDeletion,
        input: Input,
    ) -> Outcome {
        match deletion.step(cx, input) {
            Progress::Waits(wait) => {
                self.at = At::Node(deletion);
                Progress::Waits(wait)
            }
            Progress::Done(Ok(())) => self.release(cx, &deletion.id),
            // QEMU removes a device from its list shortly before it releases the node.
            Progress::Done(Err(refusal)) if is_refusal(&refusal) && self.may_come => {
                self.await_event(cx, refusal)
            }
            Progress::Done(Err(error)) => self.fail(error),
        }
    }

    fn await_event(&mut self, cx: &mut Context<'_>, refusal: QmpError) -> Outcome {
        let Some(id) = self.left.front().cloned() else {
            return Progress::Done(Ok(()));
        };
        if has_event(cx, &id) {
            return self.delete_again(cx, id);
        }
        if !self.awaits_event {
            let (device, source) = (id, refusal);
            return Progress::Done(Err(DetachError::Pending { device, source }));
        }
        let losses = cx.core.event_losses;
        if self.listed_at.replace(losses) != Some(losses) {
            self.at = At::Users(refusal);
            return cx.send(&QueryBlock {});
        }
        self.at = At::Event(refusal);
        Progress::Waits(Wait::Event)
    }

    /// Waits only if it is the device that uses the node. Its event may have been lost, and something else may
    /// use the node. QEMU refuses the list if it cannot read the information on one image, whichever: then the
    /// device may be the user. Were the device missing in a list, the detach would end with QEMU's refusal, and the
    /// next one would continue.
    fn users(
        &mut self,
        cx: &mut Context<'_>,
        refusal: QmpError,
        reply: Result<Value, QmpError>,
    ) -> Outcome {
        let Some(id) = self.left.front().cloned() else {
            return Progress::Done(Ok(()));
        };
        let is_used = match reply.and_then(read_reply::<QueryBlock>) {
            Ok(users) => {
                let mut nodes = users.iter().filter_map(|user| user.inserted.as_ref());
                nodes.any(|node| node.node_name.as_deref() == Some(id.as_str()))
            }
            Err(error) if is_refusal(&error) => true,
            Err(error) => return self.fail(error),
        };
        if is_used {
            return self.await_event(cx, refusal);
        }
        self.delete_again(cx, id)
    }

    /// A device that is gone does not use its node any more.
    fn delete_again(&mut self, cx: &mut Context<'_>, id: DeviceId) -> Outcome {
        self.may_come = false;
        self.delete_node(cx, NodeDeletion::new(id), Input::Start)
    }

    fn release(&mut self, cx: &mut Context<'_>, id: &DeviceId) -> Outcome {
        cx.core.forget_device(id);
        if let Err(error) = cx.core.pool.release(id) {
            return Progress::Done(Err(error.into()));
        }
        self.left.pop_front();
        self.next(cx)
    }

    fn fail(&self, error: QmpError) -> Outcome {
        let device = self.left.front();
        Progress::Done(match device {
            Some(id) => Err(failed(id, Step::BlockdevDel, error)),
            None => Ok(()),
        })
    }
}

/// Returns whether DEVICE_DELETED of a device has come.
fn has_event(cx: &Context<'_>, id: &DeviceId) -> bool {
    let device = cx.core.devices.get(id);
    device.is_some_and(|device| device.news == Some(News::Deleted))
}

/// Removes a block node. That there is none is no error: it was never made, or an earlier command
/// removed it and its reply was lost.
#[derive(Debug)]
pub(crate) struct NodeDeletion {
    id: DeviceId,
    /// Why QEMU did not remove it.
    refusal: Option<QmpError>,
}

impl NodeDeletion {
    pub(crate) fn new(id: DeviceId) -> Self {
        Self { id, refusal: None }
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<(), QmpError>> {
        match (self.refusal.take(), input) {
            (None, Input::Reply(Err(refusal))) if is_refusal(&refusal) => {
                self.refusal = Some(refusal);
                cx.send(&QueryNamedBlockNodes { flat: true })
            }
            (None, Input::Reply(reply)) => Progress::Done(reply.map(drop)),
            (None, _) => cx.send(&BlockdevDel {
                node_name: self.id.as_str(),
            }),
            (Some(refusal), Input::Reply(reply)) => Progress::Done(self.listed(refusal, reply)),
            (Some(refusal), _) => Progress::Done(Err(refusal)),
        }
    }

    fn listed(&self, refusal: QmpError, reply: Result<Value, QmpError>) -> Result<(), QmpError> {
        let nodes = reply.and_then(read_reply::<QueryNamedBlockNodes>)?;
        let name = Some(self.id.as_str());
        if nodes.iter().any(|node| node.node_name.as_deref() == name) {
            return Err(refusal);
        }
        Ok(())
    }
}
