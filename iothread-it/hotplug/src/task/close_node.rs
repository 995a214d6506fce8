//! The end of a node that the guest does not see, and of its export.

use iothread_pool::{Allocation, DeviceId};
use qmp_client::QmpError;
use qmp_client::command::{BlockExportDel, QueryBlockExports};
use serde_json::Value;

use crate::close::NodeDeletion;
use crate::context::{Context, Input, Progress, Wait};
use crate::error::{DetachError, Step, failed};
use crate::plug::is_refusal;
use crate::state::NodeState;
use crate::wire::read_reply;

type Outcome = Progress<Result<(), DetachError>>;

/// Ends the export of a node if it has one, closes the node and frees its thread.
#[derive(Debug)]
pub(crate) struct CloseNode {
    id: DeviceId,
    at: At,
}

#[derive(Debug)]
enum At {
    Start,
    ExportDel,
    /// The list of exports, after this refusal or after lost events.
    Exports(Option<QmpError>),
    /// BLOCK_EXPORT_DELETED.
    Event,
    Node(NodeDeletion),
}

impl CloseNode {
    pub(crate) fn new(id: DeviceId) -> Self {
        Self { id, at: At::Start }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.id
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Outcome {
        match (std::mem::replace(&mut self.at, At::Start), input) {
            (At::Start, _) => self.begin(cx),
            (At::ExportDel, Input::Reply(reply)) => match reply {
                Ok(_) => self.await_event(cx),
                // Perhaps it was never made, or an earlier command ended it and its reply was lost.
                Err(refusal) if is_refusal(&refusal) => self.list(cx, Some(refusal)),
                Err(error) => self.fail(Step::BlockExportDel, error),
            },
            (At::Exports(refusal), Input::Reply(reply)) => self.listed(cx, refusal, reply),
            (At::Event, Input::TimedOut) => {
                let awaited = format!("BLOCK_EXPORT_DELETED of {}", self.id);
                self.fail(Step::BlockExportDeleted, cx.timed_out(awaited))
            }
            (At::Event, Input::Reply(Err(lost))) => self.fail(Step::BlockExportDeleted, lost),
            (At::Event, _) => self.await_event(cx),
            (At::Node(deletion), input) => self.delete_node(cx, deletion, input),
            (at, input) => unreachable!("{at:?} got {input:?}"),
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Outcome {
        let allocation = cx.core.pool.allocation_of(&self.id);
        if !matches!(allocation, Some(Allocation::Thread(_))) {
            let device = self.id.clone();
            return Progress::Done(Err(DetachError::NotAttached { device }));
        }
        match cx.core.nodes.get_mut(&self.id) {
            Some(node) if node.state == NodeState::Exported => {
                node.export_deleted = false;
                node.unsure = false;
                self.at = At::ExportDel;
                cx.send(&BlockExportDel {
                    id: self.id.as_str(),
                })
            }
            Some(_) => self.delete_node(cx, NodeDeletion::new(self.id.clone()), Input::Start),
            None => self.release(cx),
        }
    }

    fn list(&mut self, cx: &mut Context<'_>, refusal: Option<QmpError>) -> Outcome {
        if let Some(node) = cx.core.nodes.get_mut(&self.id) {
            node.unsure = false;
        }
        self.at = At::Exports(refusal);
        cx.send(&QueryBlockExports {})
    }

    fn listed(
        &mut self,
        cx: &mut Context<'_>,
        refusal: Option<QmpError>,
        reply: Result<Value, QmpError>,
    ) -> Outcome {
        let exports = match reply.and_then(read_reply::<QueryBlockExports>) {
            Ok(exports) => exports,
            Err(error) => return self.fail(Step::BlockExportDel, error),
        };
        let export = exports.iter().find(|export| export.id == self.id.as_str());
        match (export, refusal) {
            (None, _) => self.bare(cx),
            (Some(export), Some(refusal)) if !export.shutting_down => {
                self.fail(Step::BlockExportDel, refusal)
            }
            (Some(_), _) => self.await_event(cx),
        }
    }

    /// Waits until QEMU has released the node.
    fn await_event(&mut self, cx: &mut Context<'_>) -> Outcome {
        match cx.core.nodes.get(&self.id) {
            Some(node) if !node.export_deleted && node.unsure => self.list(cx, None),
            Some(node) if !node.export_deleted => {
                self.at = At::Event;
                Progress::Waits(Wait::Event)
            }
            _ => self.bare(cx),
        }
    }

    fn bare(&mut self, cx: &mut Context<'_>) -> Outcome {
        if let Some(node) = cx.core.nodes.get_mut(&self.id) {
            node.state = NodeState::Bare;
        }
        self.delete_node(cx, NodeDeletion::new(self.id.clone()), Input::Start)
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
            Progress::Done(Ok(())) => self.release(cx),
            Progress::Done(Err(error)) => self.fail(Step::BlockdevDel, error),
        }
    }

    fn release(&self, cx: &mut Context<'_>) -> Outcome {
        cx.core.nodes.remove(&self.id);
        let released = cx.core.pool.release(&self.id);
        Progress::Done(released.map(drop).map_err(Into::into))
    }

    fn fail(&self, step: Step, error: QmpError) -> Outcome {
        Progress::Done(Err(failed(&self.id, step, error)))
    }
}
