//! `cargo kata-test report --merge DIR`: merges the records of several machines or shards.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kata_test_runner::{RunStatus, Shards, plural, run_status};

use super::everywhere;
use super::matrix;
use super::nowhere::NowhereOptions;
use super::test::{print_paths, print_summary};

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    /// The folder with the records of each shard, in a subfolder with the machine's name.
    #[arg(long, value_name = "DIR")]
    merge: PathBuf,

    /// Accepts tests that ran on several machines: each subfolder of DIR is a machine with shards of
    /// its own.
    #[arg(long)]
    repeats: bool,

    #[command(flatten)]
    nowhere: NowhereOptions,
}

/// Runs the command. The exit code is a failure if a test failed, was lost, ran twice, or ran nowhere
/// against the options.
///
/// # Errors
/// If a file cannot be read or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let allowed = options.nowhere.read()?;
    let shards = Shards::merge(&options.merge)?;
    shards.append_github_summary()?;
    match shards.ledger.everywhere {
        true => print!("{}", everywhere::summary(&shards.ledger, &shards.outcomes)),
        false => print_summary(&shards.outcomes, |_| false),
    }
    println!("{}", matrix::of_outcomes(&shards.outcomes, &shards.ledger));
    print!("{}", shards.ledger.findings());
    let count = plural(shards.folders.len(), "shard");
    println!("{count} in {}", options.merge.display());
    print_paths(&options.merge);
    let mut errors = shard_errors(options, &shards);
    if !errors.is_empty() {
        println!(
            "partition shards for different machines by hash: `--partition hash:1/2`; use --repeats if each \
             machine runs all tests"
        );
    }
    let outcomes = &shards.outcomes;
    errors.extend(options.nowhere.errors(allowed.as_ref(), outcomes, false));
    let conclusion = run_status(outcomes);
    println!("{conclusion}");
    for error in &errors {
        eprintln!("error: {error}");
    }
    Ok(if conclusion == RunStatus::Passed && errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns an error message for each test that no shard or several shards ran.
fn shard_errors(options: &Options, shards: &Shards) -> Vec<String> {
    let lost = shards.lost.iter();
    let lost = lost.map(|test| format!("lost: {test}: it could run, and ran in no shard"));
    let repeated = if options.repeats {
        &shards.repeated_on_one
    } else {
        &shards.repeated
    };
    let repeated = repeated
        .iter()
        .map(|(test, times)| format!("repeated: {test}: it ran in {times} shards"));
    lost.chain(repeated).collect()
}
