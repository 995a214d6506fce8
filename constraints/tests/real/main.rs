//! Runs the sample binaries for real and looks at their output, exit codes and records.
//!
//! These tests run under Rust's own harness: ours does not vouch for itself.

mod artifacts;
mod cli;
mod contract;
mod example;
mod folder;
mod harness;
mod hostile;
mod outcomes;
mod places;
mod plain;
mod plan;
mod run;
mod runner;
mod runtime_skips;
mod stop;
mod two_versions;
mod ui;
