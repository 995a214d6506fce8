//! The commands of `cargo kata-test`, which any workspace can have under a name of its own:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     cargo_kata_test::cli::main("cargo xtask")
//! }
//! ```
//!
//! Each command is a file here. Those beside them ([`cargo`], [`provision`], [`progress`],
//! [`interrupt`]) are for an `xtask` with further commands.

pub mod archive;
mod build;
pub mod cargo;
pub mod facts;
pub mod interrupt;
mod matrix;
mod nowhere;
pub mod places;
pub mod plan;
pub mod progress;
pub mod provision;
pub mod report;
pub mod test;

pub use build::Build;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Tests that say what they need, run where they can be.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with the tests of a workspace.
#[derive(Subcommand)]
pub enum Command {
    /// Says which test would run where, without running any.
    Plan(plan::Options),
    /// Runs every test of the workspace, in the places at hand.
    Test(test::Options),
    /// Packs the tests, built once, for machines that are unlike this one.
    Archive(archive::Options),
    /// Joins the records of several machines or shards, and fails on tests that were lost.
    Report(report::Options),
    /// Prints what this host is, or judges constraints on it.
    Facts(facts::Options),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// If it cannot be done. That a test failed is an exit code.
    pub fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Plan(options) => plan::run(options, &[]),
            Self::Test(options) => test::run(options, &[]),
            Self::Archive(options) => archive::run(options),
            Self::Report(options) => report::run(options),
            Self::Facts(options) => facts::run(options),
        }
    }
}

/// The `main` of a program that has these commands and no others. `name` is how a person calls it.
pub fn main(name: &'static str) -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    // Cargo runs `cargo-kata-test kata-test …` for `cargo kata-test …`.
    if name == "cargo kata-test" && arguments.get(1).is_some_and(|first| first == "kata-test") {
        arguments.remove(1);
    }
    let command = Cli::command().name(name).bin_name(name);
    let matches = command.get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    exit(cli.command.run())
}

/// Says an error, and turns an outcome into an exit code.
pub fn exit(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
