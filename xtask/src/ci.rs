//! `cargo xtask ci`: all checks of a change.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{book, cargo, fuzz, it, test};

/// All tests but the suite's, which `it` runs with more VMs at a time.
const TEST: [&str; 4] = [
    "test",
    "--ignore-default-filter",
    "-E",
    "not binary_id(iothread-it::it)",
];

/// The whole suite.
const IT: [&str; 2] = ["it", "--full"];

/// Enough cycles for a leak to show up.
const SOAK: [&str; 2] = ["it", "--soak=100"];

#[derive(Parser)]
struct Test {
    #[command(flatten)]
    options: cargo_kata_test::cli::test::Options,
}

#[derive(Parser)]
struct It {
    #[command(flatten)]
    options: it::Options,
}

/// Runs the command.
pub(crate) fn run() -> Result<ExitCode> {
    step(
        "formatting",
        cargo::cargo().args(["fmt", "--all", "--check"]),
    )?;
    step(
        "lints",
        cargo::cargo().args([
            "clippy",
            "--workspace",
            // All targets, also tests that `cargo test` leaves out.
            "--lib",
            "--bins",
            "--examples",
            "--benches",
            "--test=*",
            "--all-features",
            "--",
            "-Dwarnings",
        ]),
    )?;
    step(
        "lints of kata-test as its users compile it",
        cargo::cargo().args([
            "clippy",
            "--package=kata-test",
            "--all-targets",
            "--",
            "-Dwarnings",
        ]),
    )?;
    step(
        "documentation",
        cargo::cargo()
            .args(["doc", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    announce("book");
    book::run()?;
    step(
        "tests of kata-test's default features",
        // Samples of these features, and the compiler's errors that differ from those with all features. The skipped
        // tests build packages whose features are their own.
        cargo::cargo().args([
            "test",
            "--package=kata-test",
            "--lib",
            "--test=real",
            "--quiet",
            "--",
            "--skip=example::",
            "--skip=two_versions::",
        ]),
    )?;
    announce("fuzz");
    let fuzzed = fuzz::check()?;
    if fuzzed != ExitCode::SUCCESS {
        return Ok(fuzzed);
    }
    announce("test");
    let tests = test::run(&Test::parse_from(TEST).options)?;
    if tests != ExitCode::SUCCESS {
        return Ok(tests);
    }
    for command in [&IT[..], &SOAK] {
        announce(&command.join(" "));
        let outcome = it::run(&It::parse_from(command).options)?;
        if outcome != ExitCode::SUCCESS {
            return Ok(outcome);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn step(name: &str, command: &mut std::process::Command) -> Result<()> {
    announce(name);
    cargo::must_pass(command, name)
}

fn announce(name: &str) {
    println!("==> {name}");
}
