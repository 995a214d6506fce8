//! `iothread-advise`: see `--help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use iothread_advise::who;

/// Tools for people who run QEMU with IOThreads.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Who(who::Options),
}

fn main() -> ExitCode {
    let Command::Who(options) = Cli::parse().command;
    match who::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
