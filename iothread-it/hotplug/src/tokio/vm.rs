//! What the driver needs of a VM.

use std::future::{Future, ready};

use qmp_client::{Event, QmpError, Request};
use serde_json::Value;

use crate::action::{Answer, GuestDisk, Presence};
use crate::saved::Saved;

/// A connection to QEMU, with the guest and the place where state is kept.
pub trait Vm: Send {
    /// Sends a command. The future ends with the reply.
    ///
    /// QEMU must get the commands in the order of these calls. The futures are polled in that order, so one
    /// that sends when it is polled first is right. They are not dropped before they end, unless the
    /// connection is given up.
    ///
    /// QEMU may send a new client the reply to a command of the client before it, if that one ended while the
    /// command ran. So number commands from a start that no earlier connection had, as
    /// [`Qmp`](qmp_client::Qmp) does.
    ///
    /// # Errors
    /// [`QmpError::Refused`] if QEMU replied with an error; any other error means that QEMU may have
    /// executed the command.
    fn send(
        &mut self,
        command: Request,
    ) -> impl Future<Output = Result<Value, QmpError>> + Send + use<Self> + 'static;

    /// Waits for the next event. The future may be dropped and called again: then no event is lost.
    ///
    /// It is polled before the replies, so that an event is seen before a reply that came after it.
    fn next_event(&mut self) -> impl Future<Output = Incoming> + Send;

    /// Looks whether the guest has a disk, and may wait for it: [`Answer::NotYet`] has it called again, at
    /// once. Dropped if the operation ends otherwise.
    fn look(
        &mut self,
        disk: GuestDisk,
        awaited: Presence,
    ) -> impl Future<Output = Answer> + Send + use<Self> + 'static;

    /// Keeps the state, before a command is sent that it is a record of, and before an operation ends.
    /// Nothing else goes on meanwhile. A manager that does not go on after a restart has nothing to keep.
    ///
    /// # Errors
    /// If the state cannot be kept. The commands are then not sent, and the driver stops.
    fn save(&mut self, state: Saved) -> impl Future<Output = std::io::Result<()>> + Send {
        drop(state);
        ready(Ok(()))
    }
}

/// What comes from QEMU unasked.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// An event.
    Event(Event),
    /// Events were dropped, because they were not taken in time. QEMU is queried.
    EventsLost,
    /// The connection has ended, and why.
    Closed(String),
}
