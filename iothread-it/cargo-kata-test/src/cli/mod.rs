//! The commands of `cargo kata-test`, which a workspace can also offer under another name:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     cargo_kata_test::cli::main("cargo xtask")
//! }
//! ```
//!
//! Each command is a module. The modules [`cargo`], [`provision`], [`progress`] and [`interrupt`] help
//! to write an `xtask` with further commands.

pub mod adopt;
mod agent;
pub mod archive;
mod build;
pub mod cache;
pub mod cargo;
mod doctor;
mod elsewhere;
mod everywhere;
pub mod exit_codes;
pub mod facts;
pub mod interrupt;
pub mod lock;
mod matrix;
mod no_tests;
mod nowhere;
mod offers;
pub mod places;
pub mod plain;
pub mod plan;
pub mod progress;
pub mod provision;
pub mod report;
pub mod run;
mod selection;
pub mod shell;
mod store;
mod table;
pub mod test;
pub mod vm_choice;

pub use build::Build;
pub use selection::TestOptions;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Runs the tests of a workspace where their requirements are met.
#[derive(Parser)]
#[command(after_help = exit_codes::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command.
#[derive(Subcommand)]
pub enum Command {
    /// Shows which test would run where, and runs none.
    Plan(plan::Options),
    /// Runs the tests of the workspace, each in the first place where its requirement is met.
    Test(test::Options),
    /// Runs any program in a place, as if it ran here.
    Run(run::Options),
    /// Starts a shell in a place, or in the guest of a failed test; or a debugger for a test.
    Shell(shell::Options),
    /// Packs the built tests into an archive for other machines.
    Archive(archive::Options),
    /// Merges the records of several machines or shards, and fails if a test was lost.
    Report(report::Options),
    /// Prints the facts of this host, or the verdicts of constraints.
    Facts(facts::Options),
    /// Shows, bounds and clears the cache of QEMU, kernels and VMs, which all workspaces share.
    Cache(cache::Options),
    /// Pins the packages of QEMU and kernels to the archive's current versions, in `kata-test.lock`.
    Lock(lock::Options),
    /// Shows tests that return early because of the host, and the attributes that would replace that.
    Adopt(adopt::Options),
}

impl Command {
    /// Runs the command. A failed test is an exit code, not an error.
    ///
    /// # Errors
    /// If the command fails.
    pub fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Plan(options) => plan::run(options, &[]),
            Self::Test(options) => test::run(options, &[]),
            Self::Run(options) => Ok(run::run(options)),
            Self::Shell(options) => Ok(shell::run(options)),
            Self::Archive(options) => archive::run(options),
            Self::Report(options) => report::run(options),
            Self::Facts(options) => facts::run(options),
            Self::Cache(options) => cache::run(options),
            Self::Lock(options) => lock::run(options),
            Self::Adopt(options) => adopt::run(options),
        }
    }
}

/// Runs a program that has these commands only. `name` is its name in the help.
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

/// Prints an error, and converts a result to an exit code.
pub fn exit(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", message(&error));
        exit_codes::of(&error)
    })
}

/// Returns what failed with its causes, then what to do: errors state the latter after a semicolon, before their cause.
fn message(error: &anyhow::Error) -> String {
    let texts: Vec<String> = error.chain().map(ToString::to_string).collect();
    let (last, others) = texts.split_last().expect("an error has a text");
    let others: Vec<_> = others
        .iter()
        .map(|text| text.split_once("; ").unwrap_or((text, "")))
        .collect();
    let failed: String = others
        .iter()
        .map(|(failed, _)| format!("{failed}: "))
        .collect();
    let steps = others.iter().map(|(_, step)| *step);
    let steps = steps.filter(|step| !step.is_empty());
    let steps: String = steps.map(|step| format!("; {step}")).collect();
    format!("{failed}{last}{steps}")
}

#[cfg(test)]
mod tests;
