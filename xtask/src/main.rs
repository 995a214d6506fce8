//! The commands of this workspace: `cargo xtask --help`.

mod advise;
mod bench;
mod book;
mod ci;
mod fuzz;
mod it;
mod it_default;
mod it_nested;
mod it_table;
#[cfg(test)]
mod packages;
mod picture;
mod plan;
#[cfg(test)]
mod public_api;
#[cfg(test)]
mod shared_build;
#[cfg(test)]
mod structure;
mod test;
mod vm_capacity;

use std::process::ExitCode;

use cargo_kata_test::cli::{self, cargo, exit_codes, interrupt, provision};
use clap::{Parser, Subcommand};
use iothread_advise::who;

/// The commands of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots QEMU with a guest, runs the hotplug suite, and prints a table of the outcomes.
    It(it::Options),
    #[command(flatten)]
    Kata(Box<cli::Command>),
    /// Runs benchmarks, each interleaved with its peer or lower bound, and prints ratios.
    Bench(bench::Options),
    /// Measures how many IOThreads are worth their cost on a storage backend, and recommends a layout.
    Advise(advise::Options),
    /// Shows which thread of a running QEMU serves which disk.
    Who(who::Options),
    /// Fuzzes parsers of foreign input, guided by coverage, from a kept corpus.
    Fuzz(fuzz::Options),
    /// Builds the book of the documents with mdBook.
    Book,
    /// Draws the pictures of the documents from records and figures.
    Picture(picture::Options),
    /// Runs all checks of a change: formatting, lints, documentation, the book, `fuzz`, `test` and `it`.
    Ci,
}

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::It(options) => it::run(&options),
        Command::Kata(command) => kata(*command),
        Command::Bench(options) => bench::run(&options),
        Command::Advise(options) => advise::run(&options),
        Command::Who(options) => who::run(&options)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Book => book::run(),
        Command::Picture(options) => picture::run(&options),
        Command::Ci => ci::run(),
    })
}

/// Runs a command of cargo-kata-test as this workspace needs it.
fn kata(command: cli::Command) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Test(options) => test::run(&options),
        cli::Command::Plan(options) => plan::run(&options),
        cli::Command::Archive(mut options) => {
            options.build.enable_all_features();
            cli::archive::run(&options)
        }
        command => command.run(),
    }
}
