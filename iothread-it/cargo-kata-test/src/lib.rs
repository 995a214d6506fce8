//! Virtual machines as places of kata-test's runner, and the commands of `cargo kata-test`.
//!
//! [`place`] implements [`Place`](kata_test_runner::Place) with VMs. [`cli`] implements the commands,
//! which a workspace can also offer under another name, such as `cargo xtask`.

mod adopt;
pub mod cli;
pub mod place;
