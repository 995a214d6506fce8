//! Virtual machines as places of kata-test's runner, and the commands of `cargo kata-test`.
//!
//! [`place`] makes a VM a [`Place`](kata_test_runner::Place); [`cli`] has the commands, which any
//! workspace can have under a name of its own.

pub mod cli;
pub mod place;
