//! The commands of this workspace: `cargo xtask --help`.

mod bench;
mod cargo;
mod ci;
mod facts;
mod interrupt;
mod it;
mod matrix;
mod places;
mod plan;
mod progress;
mod provision;
mod report;
mod room;
mod table;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots QEMU with a guest and proves hotplug on IOThreads, with a table at the end.
    It(it::Options),
    /// Runs every test of the workspace.
    Test(test::Options),
    /// Says which test would run where, without running any.
    Plan(plan::Options),
    /// Joins the records of several machines or shards, and fails on tests that were lost.
    Report(report::Options),
    /// Prints what this host is, or judges constraints on it.
    Facts(facts::Options),
    /// Measures figures beside their peers or floors, and prints ratios.
    Bench(bench::Options),
    /// Runs what decides about a change: formatting, lints, documentation, `test` and `it`.
    Ci,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::It(options) => it::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Facts(options) => facts::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Ci => ci::run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
