//! A client of the QEMU Machine Protocol.
//!
//! One reader thread owns the receiving side. It routes each reply to its call by id and
//! drops late replies. Events go to a numbered
//! [log](EventLog): a caller takes a [`Cursor`] *before* it acts and then waits for the event
//! from there, so none is missed, even with several waiting callers. Unknown events, fields and error
//! classes are accepted.

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
