//! `cargo xtask report --merge DIR`: the records of several machines or shards as one run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kata_test::runner::{Conclusion, Shards, conclude};

use super::test::summarise;

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// The folder below which the shards' records lie, each as its machine has written it.
    #[arg(long, value_name = "DIR")]
    merge: PathBuf,

    /// Accepts tests that ran in several shards: they are machines of their own, not parts of one run.
    #[arg(long)]
    repeats: bool,
}

/// Runs the command. It fails if a test failed, was lost, or ran twice.
///
/// # Errors
/// If what is asked makes no sense, or a file cannot be read or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let shards = Shards::merge(&options.merge)?;
    summarise(&shards.outcomes);
    println!(
        "{} shards in {}",
        shards.folders.len(),
        options.merge.display()
    );
    for test in &shards.lost {
        println!("lost: {test}: it could run, and ran in no shard");
    }
    let repeated = shards.repeated.iter().filter(|_| !options.repeats);
    let mut count = 0;
    for (test, times) in repeated {
        println!("repeated: {test}: it ran in {times} shards");
        count += 1;
    }
    if !shards.lost.is_empty() || count > 0 {
        println!("shards of unlike machines have to be cut by hash: `--partition hash:1/2`");
    }
    let conclusion = conclude(&shards.outcomes);
    println!("{conclusion}");
    let good = conclusion == Conclusion::Good && shards.lost.is_empty() && count == 0;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
