//! The QEMU Machine Protocol: commands, events and errors, a codec without I/O, and a blocking client.
//!
//! | part | feature | for |
//! |---|---|---|
//! | [`codec`], [`Decoder`], [`command`], [`Capabilities`], [`Event`], [`QmpError`] | none | a VM manager with a connection of its own, blocking or not |
//! | `Qmp`, `Cursor`, `lines` | `client` (default) | one that needs a connection |
//! | a span of the crate `tracing` for each command of `Qmp`, with its id and its failure | `tracing` | |
//!
//! The client has one reader thread, which owns the receiving side. It routes each reply to its call
//! by id and drops late replies. Events go to a numbered log: a caller takes a cursor *before* it acts
//! and then waits for the event from there, so none is missed, even with several waiting callers.
//! Unknown events, fields and error classes are accepted.

pub mod capabilities;
#[cfg(feature = "client")]
mod client;
pub mod codec;
pub mod command;
mod decoder;
mod error;
mod event;
#[cfg(feature = "client")]
mod event_log;
#[cfg(feature = "client")]
pub mod lines;
#[cfg(any(all(test, feature = "client"), feature = "mock"))]
pub mod mock;
#[cfg(all(test, feature = "tracing"))]
mod traced;
mod version;
pub mod wait;

pub use capabilities::{Capabilities, Driver};
#[cfg(feature = "client")]
pub use client::Qmp;
pub use codec::{ErrorReply, Request};
pub use command::Command;
pub use decoder::Decoder;
pub use error::{LostEvents, QmpError};
pub use event::Event;
#[cfg(feature = "client")]
pub use event_log::Cursor;
pub use version::{QemuVersion, version_text};
