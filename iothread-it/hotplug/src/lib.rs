//! Devices come and go while the guest runs.
//!
//! [`Hotplug`] is a state machine without I/O. An operation is started by a call that returns its
//! id. The machine gives out [actions](Action): commands for QEMU, and questions to the guest. It
//! takes replies, events, answers and the time, and gives out [outcomes](Outcome). Operations run
//! side by side: one that never ends delays no other.
//!
//! | driver | feature | operations |
//! |---|---|---|
//! | `blocking::Hotplug`, over the client of qmp-client | `blocking` (default) | one at a time |
//! | `tokio::Hotplug`, over any asynchronous client, by a trait | `tokio` | many at once, each a future |
//!
//! With the feature `serde` the [saved state](Saved) can be serialized.
//!
//! An attach goes through four steps, a detach back through three; how far a device has come is its
//! [`DiskState`]. A failed attach is rolled back by the very code that detaches, from the state
//! that was reached. An unfinished or cancelled operation can be followed by another, which continues
//! where it was: until then the device keeps its thread and its slot.
//!
//! A deadline is for all of an operation, what undoes a failure included.
//!
//! | what a thread serves | file | queues on several threads |
//! |---|---|---|
//! | a virtio-blk disk | `disk` | from QEMU 9.2 on |
//! | a SCSI controller, and the disks on it; a balloon's free page hints | `scsi` | a controller, from QEMU 10.0 on |
//! | an NBD export, from QEMU 9.0 on; a block node without a device | `task/node` | no |
//!
//! `cold` has devices that are there from the start, and `task/moving` takes a disk to another thread.
//! QEMU's own monitors take no thread of ours, and colo-compare is not here: it compares the network
//! packets of two VMs, which are not disks, and is not hot-plugged.

mod action;
#[cfg(feature = "blocking")]
pub mod blocking;
mod close;
mod cold;
mod context;
mod disk;
mod error;
mod iothread;
mod machine;
mod mapping;
mod plug;
mod reconcile;
mod removal;
mod saved;
mod scsi;
mod state;
mod task;
#[cfg(feature = "tokio")]
pub mod tokio;
mod wire;

#[cfg(all(test, feature = "blocking"))]
mod tests;

pub use action::{
    Action, Answer, CommandId, GuestAddress, GuestDisk, GuestError, OperationId, Presence,
    QuestionId,
};
pub use cold::ColdPlugged;
pub use disk::{BlockOptions, DiskSpec};
pub use error::{
    AttachError, DetachError, MoveError, RemoveThreadError, Step, StepError, UnplugEventsError,
    UnplugProgress,
};
pub use iothread::{Polling, object as iothread_object};
pub use machine::{FromOutcome, Hotplug, Started};
pub use reconcile::Difference;
pub use saved::Saved;
pub use scsi::ScsiController;
pub use state::DiskState;
pub use task::Outcome;
