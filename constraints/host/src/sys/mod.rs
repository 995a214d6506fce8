//! System calls that facts need and that Rust has no safe form of. `unsafe` is used here, and in the probes
//! that run in a child.

mod child;
mod file;
mod message;
mod pipe;
mod run;
mod target;
mod thread;
mod wait;

pub use child::{NoAnswer, Sends, TRUNCATED, answer_within, become_leader, die_with, fork};
#[cfg(target_os = "linux")]
pub(crate) use file::file_system;
pub(crate) use file::free_bytes;
pub use file::{Standard, may_execute, redirect, set_nonblocking};
pub use message::Message;
pub use pipe::pipe;
pub use run::{Ran, command_until, command_within, lead_group, run_within};
pub use target::{is_target, target_folder_of};
pub use thread::in_thread_within;
pub use wait::{Child, ends_within, has_ended};
