//! The commands of this workspace: `cargo xtask --help`.

mod bench;
mod ci;
mod it;
mod plan;
mod room;
#[cfg(test)]
mod structure;
mod table;
mod test;

use std::process::ExitCode;

use cargo_kata_test::cli::{self, cargo, interrupt, provision};
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
    #[command(flatten)]
    Kata(cli::Command),
    /// Measures figures beside their peers or floors, and prints ratios.
    Bench(bench::Options),
    /// Runs what decides about a change: formatting, lints, documentation, `test` and `it`.
    Ci,
}

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::It(options) => it::run(&options),
        Command::Kata(cli::Command::Test(options)) => test::run(&options),
        Command::Kata(cli::Command::Plan(options)) => plan::run(&options),
        Command::Kata(cli::Command::Archive(mut options)) => {
            options.build.all_features = true;
            cli::archive::run(&options)
        }
        Command::Kata(command) => command.run(),
        Command::Bench(options) => bench::run(&options),
        Command::Ci => ci::run(),
    })
}
