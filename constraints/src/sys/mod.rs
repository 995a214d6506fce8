//! The few things for which Rust has no safe call. All `unsafe` of the harness lives below here, and
//! in the same module of what it judges by.

mod descriptors;
mod exit;
mod flock;
mod owner;
mod print;
mod signals;

pub(crate) use descriptors::close_private_descriptors;
pub(crate) use exit::at_exit;
pub(crate) use flock::{lock, try_lock, unlock};
pub(crate) use kata_test_host::sys::*;
pub(crate) use owner::{OWNER, make_room_for_owner, mark_owner};
pub(crate) use print::{stderr, stdout};
pub(crate) use signals::{Signals, default_signals};
