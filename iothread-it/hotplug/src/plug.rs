//! Hot-plug: into QEMU, then into the guest.

use iothread_pool::{Assignment, DeviceId, VqMapping};
use qmp_client::command::{BlockdevAdd, DeviceAdd, QomList};
use qmp_client::{QmpError, Request};
use serde_json::Value;

use crate::action::{Answer, GuestDisk, GuestError, Presence};
use crate::context::{Context, Input, Progress};
use crate::error::{AttachError, Step, StepError};
use crate::mapping;
use crate::state::DiskState;
use crate::wire::read_reply;

/// Maximum number of attempts if the guest ejects the device each time.
const MAX_PLUG_ATTEMPTS: u32 = 3;

/// Where QEMU has the devices that were given an id.
pub(crate) const PERIPHERAL: QomList<'_> = QomList {
    path: "/machine/peripheral",
};

/// A step that failed, and why.
pub(crate) type Failure = (Step, StepError);

/// Returns the mapping among what serves a device.
pub(crate) fn mapping_of(assignment: &Assignment) -> Option<&VqMapping> {
    match assignment {
        Assignment::Mapped(mapping) => Some(mapping),
        Assignment::MainLoop | Assignment::Thread(_) => None,
    }
}

/// An attach that failed before anything was done.
pub(crate) fn not_started(id: &DeviceId, (step, source): Failure) -> AttachError {
    AttachError {
        device: id.clone(),
        step,
        source,
        rollback: Ok(()),
    }
}

/// Returns whether QEMU has refused a command. Only then is it known not to have been executed.
pub(crate) fn is_refusal(error: &QmpError) -> bool {
    matches!(error, QmpError::Refused { .. })
}

/// Plugs one device in, again if the guest ejects it before it has found it.
///
/// A guest does so that is still at an older request for the same slot: it was asked twice for
/// what was there before, or was notified twice of one request, and by the second time a new
/// device is there.
#[derive(Debug)]
pub(crate) struct Plug {
    pub(crate) id: DeviceId,
    /// The arguments of `blockdev-add`, if there is a node behind it.
    pub(crate) node: Option<Value>,
    /// The arguments of `device_add`.
    pub(crate) device: Value,
    /// The mapping that it must turn out to have.
    pub(crate) mapping: Option<VqMapping>,
    /// How the guest finds it, if it can.
    pub(crate) guest: Option<GuestDisk>,
    pub(crate) at: PlugAt,
    pub(crate) attempts: u32,
    /// The newest that the guest has said.
    pub(crate) view: Option<GuestError>,
}

/// The reply or the answer that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlugAt {
    Node,
    Absent,
    Device,
    Mapping,
    Present,
    /// The list of devices, since events were lost.
    List,
}

impl Plug {
    pub(crate) fn new(id: DeviceId, node: Option<Value>, device: Value) -> Self {
        Self {
            id,
            node,
            device,
            mapping: None,
            guest: None,
            at: PlugAt::Node,
            attempts: 0,
            view: None,
        }
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<(), Failure>> {
        match (self.at, input) {
            (PlugAt::Node, Input::Start) => self.add_node(cx),
            (PlugAt::Node, Input::Reply(reply)) => match reply {
                Ok(_) => self.begin_device(cx),
                Err(error) => {
                    if is_refusal(&error) {
                        cx.core.devices.remove(&self.id);
                    }
                    fail(Step::BlockdevAdd, error)
                }
            },
            (PlugAt::Absent, Input::Answer(Answer::Yes)) => self.add_device(cx),
            (PlugAt::Device, Input::Reply(reply)) => self.added(cx, reply),
            (PlugAt::Mapping, Input::Reply(reply)) => {
                let mapping = self.mapping.as_ref();
                let checked = reply.map_err(StepError::from).and_then(|found| {
                    mapping.map_or(Ok(()), |mapping| mapping::compare(mapping, &found))
                });
                match checked {
                    Ok(()) => self.look(cx),
                    Err(error) => fail(Step::VerifyVqMapping, error),
                }
            }
            (PlugAt::Present, Input::Answer(Answer::Yes)) => Progress::Done(Ok(())),
            (at, Input::Answer(Answer::NotYet(view))) => {
                self.view = Some(view);
                self.ask_again(cx, at)
            }
            (at, Input::Answer(Answer::Failed(error))) => {
                let step = match at {
                    PlugAt::Absent => Step::AwaitAbsent,
                    _ => Step::AwaitPresent,
                };
                fail(step, StepError::Guest(error))
            }
            (at, Input::Look) => self.ask_again(cx, at),
            (PlugAt::List, Input::Reply(reply)) => match note_list(cx, &self.id, reply) {
                Ok(()) => self.look(cx),
                Err(error) => fail(Step::AwaitPresent, error),
            },
            (at, Input::TimedOut) => self.timed_out(cx, at),
            (at, input) => unreachable!("{at:?} got {input:?}"),
        }
    }

    fn add_node(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), Failure>> {
        let Some(node) = &self.node else {
            return self.begin_device(cx);
        };
        cx.record(&self.id, DiskState::NodeOnly, Some(node), &self.device);
        cx.request(Request::with_arguments::<BlockdevAdd<'_>>(node.clone()))
    }

    fn begin_device(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), Failure>> {
        let Some(guest) = &self.guest else {
            return self.add_device(cx);
        };
        // Else the guest would seem to have found the device that had this address before: QEMU is
        // done with a SCSI disk before the guest has heard of it.
        self.at = PlugAt::Absent;
        cx.ask(guest, Presence::Absent)
    }

    fn add_device(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), Failure>> {
        self.at = PlugAt::Device;
        cx.record(
            &self.id,
            DiskState::Attached,
            self.node.as_ref(),
            &self.device,
        );
        cx.request(Request::with_arguments::<DeviceAdd<'_>>(
            self.device.clone(),
        ))
    }

    fn added(
        &mut self,
        cx: &mut Context<'_>,
        reply: Result<Value, QmpError>,
    ) -> Progress<Result<(), Failure>> {
        if let Err(error) = reply {
            if is_refusal(&error) {
                match self.node {
                    Some(_) => cx.reached(&self.id, DiskState::NodeOnly),
                    None => drop(cx.core.devices.remove(&self.id)),
                }
            }
            return fail(Step::DeviceAdd, error);
        }
        let is_awaited = cx.core.events_to_come.contains(&self.id);
        if let Some(device) = cx.core.devices.get_mut(&self.id) {
            device.confirmed = !is_awaited;
        }
        if self.mapping.is_some() {
            self.at = PlugAt::Mapping;
            return cx.send(&mapping::query(&format!("/machine/peripheral/{}", self.id)));
        }
        self.look(cx)
    }

    /// Asks the guest, unless it has ejected the device.
    fn look(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), Failure>> {
        let Some(guest) = &self.guest else {
            return Progress::Done(Ok(()));
        };
        let Some(device) = cx.core.devices.get_mut(&self.id) else {
            return Progress::Done(Ok(()));
        };
        if device.is_gone() {
            return self.ejected(cx);
        }
        if device.unsure {
            device.unsure = false;
            self.at = PlugAt::List;
            return cx.send(&PERIPHERAL);
        }
        self.at = PlugAt::Present;
        cx.ask(guest, Presence::Present)
    }

    fn ask_again(&mut self, cx: &mut Context<'_>, at: PlugAt) -> Progress<Result<(), Failure>> {
        match (at, &self.guest) {
            (PlugAt::Absent, Some(guest)) => cx.ask(guest, Presence::Absent),
            _ => self.look(cx),
        }
    }

    fn ejected(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), Failure>> {
        self.attempts += 1;
        cx.reached(&self.id, DiskState::NodeOnly);
        if self.attempts == MAX_PLUG_ATTEMPTS {
            let times = self.attempts;
            return fail(Step::AwaitPresent, StepError::Ejected { times });
        }
        self.begin_device(cx)
    }

    fn timed_out(&mut self, cx: &mut Context<'_>, at: PlugAt) -> Progress<Result<(), Failure>> {
        let within = cx.deadline;
        let view = self.view.take();
        let source = view.unwrap_or_else(|| "the guest has not answered".into());
        match at {
            PlugAt::Absent => fail(Step::AwaitAbsent, StepError::Guest(source)),
            _ => fail(Step::AwaitPresent, StepError::NotInGuest { within, source }),
        }
    }
}

fn fail(step: Step, error: impl Into<StepError>) -> Progress<Result<(), Failure>> {
    Progress::Done(Err((step, error.into())))
}

/// Reads the list of devices. If it does not come, events of this device are still missed.
pub(crate) fn note_list(
    cx: &mut Context<'_>,
    id: &DeviceId,
    reply: Result<Value, QmpError>,
) -> Result<(), QmpError> {
    match reply.and_then(read_reply::<QomList<'_>>) {
        Ok(devices) => {
            let is_listed = devices.iter().any(|device| device.name == id.as_str());
            if let Some(device) = cx.core.devices.get_mut(id) {
                device.note_listed(is_listed);
            }
            Ok(())
        }
        Err(error) => {
            if let Some(device) = cx.core.devices.get_mut(id) {
                device.unsure = true;
            }
            Err(error)
        }
    }
}
