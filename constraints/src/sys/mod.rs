//! The few things for which Rust has no safe call. All `unsafe` of the harness lives below here.

mod child;
mod exit;
mod file;
mod owner;
mod pipe;
mod print;
mod run;
mod signals;
mod thread;

pub(crate) use child::{Bounded, answer_within, become_leader, die_with, fork, set_variables};
pub(crate) use exit::at_exit;
#[cfg(target_os = "linux")]
pub(crate) use file::file_system;
pub(crate) use file::{Standard, free_bytes, may_execute, redirect, set_nonblocking};
pub(crate) use owner::{OWNER, make_room_for_owner, mark_owner};
pub(crate) use pipe::pipe;
pub(crate) use print::{stderr, stdout};
#[cfg(feature = "runner")]
pub(crate) use run::command_within;
pub(crate) use run::{Ran, run_within};
pub(crate) use signals::{Signals, default_signals};
pub(crate) use thread::in_thread_within;
