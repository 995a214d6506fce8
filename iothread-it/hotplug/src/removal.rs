//! Hot-unplug: from the guest, then from QEMU, then from the pool.
//!
//! `device_del` is a request. The guest may complete it late, reject it or never reply; a reset of
//! the guest completes it. So a removal that misses the caller's deadline is pending, and the next
//! operation continues it.

use iothread_pool::DeviceId;
use qmp_client::QmpError;
use qmp_client::command::DeviceDel;

use crate::close::Close;
use crate::context::{Context, Input, Progress, Wait};
use crate::error::{DetachError, Step, failed};
use crate::plug::{PERIPHERAL, is_refusal, note_list};
use crate::state::{Device, DiskState, News};

type Outcome = Progress<Result<(), DetachError>>;

/// Takes away what QEMU has of a device, from whatever state, and then its lease.
#[derive(Debug)]
pub(crate) struct Removal {
    id: DeviceId,
    at: At,
}

#[derive(Debug)]
enum At {
    Start,
    /// The list of devices, since events were lost before `device_del`.
    List,
    /// The reply to `device_del`, with what was known before.
    Delete(Device),
    /// DEVICE_DELETED, with the refusal of a repeated `device_del`.
    Event(Option<QmpError>),
    /// The list of devices, since events were lost after `device_del`.
    ListAgain(Option<QmpError>),
    Close(Close),
}

impl Removal {
    pub(crate) fn new(id: DeviceId) -> Self {
        Self { id, at: At::Start }
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>, input: Input) -> Outcome {
        match (std::mem::replace(&mut self.at, At::Start), input) {
            (At::Start, _) => self.start(cx),
            (At::List, Input::Reply(reply)) => match note_list(cx, &self.id, reply) {
                Ok(()) => self.start(cx),
                Err(error) => Progress::Done(Err(failed(&self.id, Step::DeviceDeleted, error))),
            },
            (At::Delete(before), Input::Reply(reply)) => self.requested(cx, before, reply),
            (At::Event(refusal), Input::TimedOut) => self.pending(cx, refusal),
            (At::Event(refusal), Input::Reply(Err(lost))) => {
                // The connection has ended.
                drop(refusal);
                Progress::Done(Err(failed(&self.id, Step::DeviceDeleted, lost)))
            }
            (At::Event(refusal), _) => self.await_event(cx, refusal),
            (At::ListAgain(refusal), Input::Reply(reply)) => match note_list(cx, &self.id, reply) {
                Ok(()) => self.await_event(cx, refusal),
                Err(error) => Progress::Done(Err(failed(&self.id, Step::DeviceDeleted, error))),
            },
            (At::Close(close), input) => self.close(cx, close, input),
            (at, input) => unreachable!("{at:?} got {input:?}"),
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Outcome {
        let Some(device) = cx.core.devices.get_mut(&self.id) else {
            let released = cx.core.pool.release(&self.id);
            return Progress::Done(released.map(drop).map_err(Into::into));
        };
        if !device.state.has_device() || device.is_gone() {
            return self.begin_close(cx);
        }
        if device.unsure {
            device.unsure = false;
            self.at = At::List;
            return cx.send(&PERIPHERAL);
        }
        // Recorded before the request: its reply may be lost, and the guest may have it. An earlier
        // request may have been refused by now: that is no answer to this one.
        let before = device.clone();
        device.state = DiskState::RemovalPending;
        device.news = None;
        self.at = At::Delete(before);
        cx.send(&DeviceDel {
            id: self.id.as_str(),
        })
    }

    fn requested(
        &mut self,
        cx: &mut Context<'_>,
        before: Device,
        reply: Result<serde_json::Value, QmpError>,
    ) -> Outcome {
        match reply {
            Ok(_) => self.await_event(cx, None),
            Err(error) if error.class() == Some("DeviceNotFound") => self.begin_close(cx),
            // QEMU takes no second request while the first is on its way, which still counts.
            Err(refusal) if is_refusal(&refusal) && before.state == DiskState::RemovalPending => {
                self.await_event(cx, Some(refusal))
            }
            Err(error) => {
                if is_refusal(&error)
                    && let Some(device) = cx.core.devices.get_mut(&self.id)
                {
                    device.state = before.state;
                }
                Progress::Done(Err(failed(&self.id, Step::DeviceDel, error)))
            }
        }
    }

    fn await_event(&mut self, cx: &mut Context<'_>, refusal: Option<QmpError>) -> Outcome {
        let Some(device) = cx.core.devices.get_mut(&self.id) else {
            return Progress::Done(Ok(()));
        };
        match device.news {
            Some(news) if news.is_gone() => self.begin_close(cx),
            Some(_) => {
                note_rejection(device);
                let device = self.id.clone();
                Progress::Done(Err(DetachError::GuestRejected { device }))
            }
            None if device.unsure => {
                device.unsure = false;
                self.at = At::ListAgain(refusal);
                cx.send(&PERIPHERAL)
            }
            None => {
                self.at = At::Event(refusal);
                Progress::Waits(Wait::Event)
            }
        }
    }

    fn pending(&mut self, cx: &mut Context<'_>, refusal: Option<QmpError>) -> Outcome {
        let awaited = format!("DEVICE_DELETED of {}", self.id);
        Progress::Done(Err(DetachError::Pending {
            device: self.id.clone(),
            source: refusal.unwrap_or_else(|| cx.timed_out(awaited)),
        }))
    }

    fn begin_close(&mut self, cx: &mut Context<'_>) -> Outcome {
        let close = Close::new(&cx.core.pool, &self.id, true);
        self.close(cx, close, Input::Start)
    }

    fn close(&mut self, cx: &mut Context<'_>, mut close: Close, input: Input) -> Outcome {
        let progress = close.step(cx, input);
        self.at = At::Close(close);
        progress
    }
}

/// The guest keeps the device. The next attempt must not meet this refusal again.
pub(crate) fn note_rejection(device: &mut Device) {
    if device.news == Some(News::Rejected) {
        device.news = None;
        device.state = DiskState::Attached;
    }
}
