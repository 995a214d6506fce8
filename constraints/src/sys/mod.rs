//! System calls that Rust has no safe form of.

mod crash;
mod descriptors;
mod exit;
mod flock;
#[cfg(target_os = "linux")]
mod own_network;
#[cfg(not(target_os = "linux"))]
#[path = "no_own_network.rs"]
mod own_network;
mod owner;
mod print;
mod signals;

pub(crate) use crash::{await_crash, print_backtrace_at_crash};
pub(crate) use descriptors::close_private_descriptors;
pub(crate) use exit::at_exit;
pub(crate) use flock::{lock, try_lock, unlock};
pub(crate) use kata_test_host::sys::*;
pub(crate) use own_network::OwnNetwork;
pub(crate) use owner::{OWNER, mark_owner};
pub(crate) use print::{stderr, stdout};
pub(crate) use signals::{Signals, default_signals};
