//! Block nodes that the guest does not see: bare ones, and those that are exported.
//!
//! A bare node moves from thread to thread, which a device's does not. An export has its thread
//! from the start to the end.

use iothread_pool::{Allocation, DeviceId, IoThreadId, Placement, ThreadLease};
use qmp_client::command::{BlockExportAdd, BlockdevAdd, XBlockdevSetIothread};
use qmp_client::{QmpError, Request};

use super::close_node::CloseNode;
use super::gate::Gate;
use crate::context::{Context, Input, Progress};
use crate::disk::DiskSpec;
use crate::error::{AttachError, MoveError, Step, StepError};
use crate::plug::{Failure, is_refusal, not_started};
use crate::state::{Node, NodeState};
use crate::wire;

type Outcome = Progress<Result<Allocation, AttachError>>;

/// Opens an image as a node without a device, and moves it to a thread or exports it there.
#[derive(Debug)]
pub(crate) struct OpenNode {
    disk: DiskSpec,
    placement: Placement,
    is_export: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Gate(Gate),
    Node(ThreadLease),
    /// Its thread, or its export.
    Thread(ThreadLease),
    /// Closed, after this failure.
    Rollback(Option<Failure>, CloseNode),
}

impl OpenNode {
    pub(crate) fn new(disk: DiskSpec, placement: Placement, is_export: bool) -> Self {
        let gate = match is_export {
            true => Gate::Export,
            false => Gate::SetIothread,
        };
        Self {
            disk,
            placement,
            is_export,
            stage: Stage::Gate(gate),
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.disk.id
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Outcome {
        match &mut self.stage {
            Stage::Gate(gate) => match gate.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(Ok(())) => self.open(cx),
                Progress::Done(Err(error)) => self.refuse((Step::Lease, error)),
            },
            Stage::Node(lease) => {
                let lease = lease.clone();
                self.opened(cx, input, lease)
            }
            Stage::Thread(lease) => {
                let lease = lease.clone();
                self.placed(cx, input, lease)
            }
            Stage::Rollback(failure, close) => match close.step(cx, input) {
                Progress::Waits(wait) => Progress::Waits(wait),
                Progress::Done(rollback) => {
                    let (step, source) = failure.take().expect("a rollback ends once");
                    Progress::Done(Err(AttachError {
                        device: self.disk.id.clone(),
                        step,
                        source,
                        rollback: rollback.map_err(Box::new),
                    }))
                }
            },
        }
    }

    fn refuse(&self, failure: Failure) -> Outcome {
        Progress::Done(Err(not_started(&self.disk.id, failure)))
    }

    fn open(&mut self, cx: &mut Context<'_>) -> Outcome {
        if self.is_export && self.placement != Placement::MainLoop {
            let can = cx.core.capabilities.export_on_thread();
            if let Err(error) = can {
                return self.refuse((Step::Lease, StepError::from(error)));
            }
        }
        let node = match self.disk.node(&cx.core.options) {
            Ok(node) => node,
            Err(error) => return self.refuse((Step::BlockdevAdd, error)),
        };
        let lease = match cx.core.pool.lease_thread(&self.disk.id, &self.placement) {
            Ok(lease) => lease,
            Err(error) => return self.refuse((Step::Lease, error.into())),
        };
        let since = cx.core.next();
        let known = Node {
            since,
            state: NodeState::Bare,
            node: node.clone(),
            export: None,
            export_deleted: false,
            unsure: false,
        };
        cx.core.nodes.insert(self.disk.id.clone(), known);
        self.stage = Stage::Node(lease);
        cx.request(Request::with_arguments::<BlockdevAdd<'_>>(node))
    }

    fn opened(&mut self, cx: &mut Context<'_>, input: Input, lease: ThreadLease) -> Outcome {
        if let Input::Reply(Err(error)) = input {
            if is_refusal(&error) {
                cx.core.nodes.remove(&self.disk.id);
            }
            return self.roll_back(cx, Step::BlockdevAdd, error);
        }
        let thread = lease.assignment.thread().map(IoThreadId::as_str);
        let id = self.disk.id.as_str();
        let command = if self.is_export {
            let export = wire::request(&BlockExportAdd {
                export_type: "nbd",
                id,
                node_name: id,
                writable: !self.disk.read_only,
                iothread: thread,
                fixed_iothread: thread.is_some(),
            });
            // A list that was requested before does not count for the export.
            let since = cx.core.next();
            if let Some(node) = cx.core.nodes.get_mut(&self.disk.id) {
                node.since = since;
                node.state = NodeState::Exported;
                node.export = Some(export.arguments().clone());
            }
            export
        } else {
            set_iothread(&self.disk.id, thread)
        };
        self.stage = Stage::Thread(lease);
        cx.request(command)
    }

    fn placed(&mut self, cx: &mut Context<'_>, input: Input, lease: ThreadLease) -> Outcome {
        let Input::Reply(Err(error)) = input else {
            return Progress::Done(Ok(Allocation::Thread(lease)));
        };
        if is_refusal(&error)
            && let Some(node) = cx.core.nodes.get_mut(&self.disk.id)
        {
            node.state = NodeState::Bare;
        }
        let step = match self.is_export {
            true => Step::BlockExportAdd,
            false => Step::SetIothread,
        };
        self.roll_back(cx, step, error)
    }

    fn roll_back(&mut self, cx: &mut Context<'_>, step: Step, error: QmpError) -> Outcome {
        let close = CloseNode::new(self.disk.id.clone());
        self.stage = Stage::Rollback(Some((step, error.into())), close);
        self.step(cx, Input::Start)
    }
}

/// Moves a node that no device and no export uses to another thread.
#[derive(Debug)]
pub(crate) struct MoveNode {
    pub(crate) id: DeviceId,
    placement: Placement,
    lease: Option<ThreadLease>,
}

impl MoveNode {
    pub(crate) fn new(id: DeviceId, placement: Placement) -> Self {
        Self {
            id,
            placement,
            lease: None,
        }
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<Allocation, MoveError>> {
        let pool = &mut cx.core.pool;
        match (self.lease.take(), input) {
            (Some(lease), Input::Reply(Ok(_))) => {
                let moved = pool.is_on(&self.id, lease.clone());
                Progress::Done(
                    moved
                        .map(|()| Allocation::Thread(lease))
                        .map_err(Into::into),
                )
            }
            (Some(lease), Input::Reply(Err(error))) => {
                if is_refusal(&error) {
                    pool.is_not_on(&self.id, &lease);
                }
                Progress::Done(Err(error.into()))
            }
            _ => self.begin(cx),
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Progress<Result<Allocation, MoveError>> {
        let id = self.id.clone();
        let node = cx.core.nodes.get(&id);
        if node.is_none_or(|node| node.state != NodeState::Bare) {
            return Progress::Done(Err(MoveError::NoFreeNode { id }));
        }
        let mut trial = cx.core.pool.clone();
        let tried = trial
            .release(&id)
            .and_then(|_| trial.lease_thread(&id, &self.placement));
        let lease = match tried {
            Ok(lease) => lease,
            Err(error) => return Progress::Done(Err(error.into())),
        };
        cx.core.pool.may_be_on(&id, &lease);
        let thread = lease.assignment.thread().map(IoThreadId::as_str);
        let command = set_iothread(&id, thread);
        self.lease = Some(lease);
        cx.request(command)
    }
}

fn set_iothread(node: &DeviceId, thread: Option<&str>) -> Request {
    wire::request(&XBlockdevSetIothread {
        node_name: node.as_str(),
        iothread: thread,
        force: false,
    })
}
