//! A client of the QEMU Machine Protocol.
//!
//! One reader thread owns the receiving side. It hands each reply to the call that waits for it,
//! by id, and drops those that nobody waits for any more. Events go to a numbered
//! [log](EventLog): a caller takes a [`Cursor`] *before* it acts and then waits for the event
//! from there, so none is missed, whoever else waits. Unknown events, fields and error classes are
//! as good as known ones.

pub mod capabilities;
mod client;
pub mod command;
mod error;
mod events;
pub mod lines;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod version;
pub mod wait;
mod wire;

pub use capabilities::{Capabilities, Driver};
pub use client::Qmp;
pub use command::Command;
pub use error::QmpError;
pub use events::{Cursor, Event, EventLog, LostEvents};
pub use version::{QemuVersion, version_text};
