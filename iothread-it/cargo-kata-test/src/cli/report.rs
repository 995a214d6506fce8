//! `cargo kata-test report --merge DIR`: the records of several machines or shards as one run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kata_test_runner::{RunStatus, Shards, run_status};

use super::matrix;
use super::nowhere::Expected;
use super::test::{say_files, summarise};

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// The folder below which the shards' records lie, each as its machine has written it, in a folder
    /// with the machine's name.
    #[arg(long, value_name = "DIR")]
    merge: PathBuf,

    /// Accepts tests that ran on several machines: each folder in DIR is a machine of its own, with its
    /// shards below it, not a part of one run.
    #[arg(long)]
    repeats: bool,

    #[command(flatten)]
    expected: Expected,
}

/// Runs the command. It fails if a test failed, was lost, or ran twice, or if one ran nowhere that is
/// expected to run somewhere.
///
/// # Errors
/// If what is asked makes no sense, or a file cannot be read or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let allowed = options.expected.read()?;
    let shards = Shards::merge(&options.merge)?;
    shards.append_github_summary()?;
    summarise(&shards.outcomes, |_| false);
    println!("{}", matrix::of_outcomes(&shards.outcomes));
    print!("{}", shards.ledger.findings());
    let count = shards.folders.len();
    let plural = if count == 1 { "" } else { "s" };
    println!("{count} shard{plural} in {}", options.merge.display());
    say_files(&options.merge);
    let mut complaints = complaints(options, &shards);
    if !complaints.is_empty() {
        println!(
            "shards of unlike machines have to be cut by hash, `--partition hash:1/2`; if each machine \
             was to run everything, there is --repeats"
        );
    }
    let outcomes = &shards.outcomes;
    let expected = &options.expected;
    complaints.extend(expected.complaints(allowed.as_ref(), outcomes, false));
    let conclusion = run_status(outcomes);
    println!("{conclusion}");
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    Ok(
        if conclusion == RunStatus::Passed && complaints.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}

/// What has gone wrong between the shards.
fn complaints(options: &Options, shards: &Shards) -> Vec<String> {
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
