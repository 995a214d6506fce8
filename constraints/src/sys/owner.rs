//! The variable that marks processes of a test: programs inherit it across exec(3).
#![expect(unsafe_code, reason = "the environment is changed")]

use nix::unistd::{Pid, getpid};

/// The variable: `<harness pid>-<test pid>`.
pub(crate) const OWNER: &str = "KATA_TEST_OWNER";

/// Marks the calling child of a harness, and every program that it will start.
pub(crate) fn mark_owner(harness: Pid) {
    // SAFETY: a child that the harness has just forked has one thread.
    unsafe { std::env::set_var(OWNER, format!("{harness}-{}", getpid())) };
}
