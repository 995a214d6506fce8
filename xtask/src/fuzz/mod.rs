//! `cargo xtask fuzz`: coverage-guided fuzzing of the parsers with libFuzzer, on the stable compiler.
//!
//! The package `xtask/fuzz` has the targets, and in `corpus/TARGET` inputs that reach what is known to be
//! reachable. `build` compiles the targets, and `libfuzzer` runs one and reads its output.

mod build;
mod libfuzzer;
mod merge;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use build::Package;
use libfuzzer::{Effort, Ended, Progress};

/// How often each target runs in `cargo xtask ci`: on its kept corpus, and on some new inputs, which are
/// the same on each run of a commit.
const EXECUTIONS_IN_CI: u64 = 5000;

/// How long that may take: some hundred times as long as it does.
const TIME_IN_CI: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The targets to run; all by default.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long to run each target.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many targets run at the same time; by default one for each CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Lists the targets and runs none.
    #[arg(long)]
    list: bool,
    /// Runs one target on one input, such as one that crashed it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "minimize"])]
    input: Option<PathBuf>,
    /// Then replaces the kept corpus by the smallest set of inputs, old and new, with the same coverage.
    #[arg(long)]
    minimize: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let package = Package::find()?;
    let targets = package.select(&options.targets)?;
    if options.list {
        for target in targets {
            println!("{target}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(problem) = build::missing_compiler() {
        bail!("{problem}");
    }
    if let Some(input) = &options.input {
        let [target] = &targets[..] else {
            bail!("`--input` needs exactly one target: `cargo xtask fuzz TARGET --input FILE`");
        };
        ensure!(input.is_file(), "there is no file {}", input.display());
        package.build(&targets)?;
        return libfuzzer::reproduce(&package, target, input);
    }
    let jobs = options.jobs.map_or_else(cpus, |jobs| jobs as usize);
    let effort = Effort {
        time: Duration::from_secs(options.seconds),
        executions: None,
    };
    let outcome = fuzz(&package, &targets, effort, jobs)?;
    if options.minimize && outcome == ExitCode::SUCCESS {
        for target in &targets {
            merge::replace_corpus(&package, target)?;
        }
    }
    Ok(outcome)
}

/// Runs all targets briefly, for `cargo xtask ci`. Without a C++ compiler it skips them and prints so.
pub(crate) fn check() -> Result<ExitCode> {
    if let Some(problem) = build::missing_compiler() {
        println!("SKIPPED: {problem}");
        return Ok(ExitCode::SUCCESS);
    }
    let package = Package::find()?;
    let targets = package.select(&[])?;
    let effort = Effort {
        time: TIME_IN_CI,
        executions: Some(EXECUTIONS_IN_CI),
    };
    fuzz(&package, &targets, effort, cpus())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs targets, so many at the same time, and prints a line for each.
fn fuzz(package: &Package, targets: &[String], effort: Effort, jobs: usize) -> Result<ExitCode> {
    package.build(targets)?;
    let next = AtomicUsize::new(0);
    let width = targets.iter().map(String::len).max().unwrap_or(0);
    let jobs = jobs.min(targets.len());
    let show = |progress: &Progress| {
        if jobs == 1 {
            progress.show(width);
        }
    };
    let work = || {
        let mut ended = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = libfuzzer::run(package, target, effort, show);
            if let Ok(ended) = &run {
                println!("{}", ended.line(width));
            }
            ended.push(run);
        }
        ended
    };
    let ended = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter();
        let ended = ended.flat_map(|worker| worker.join().expect("a worker does not panic"));
        ended.collect::<Result<Vec<Ended>>>()
    });
    let ended = ended.context("a target did not run")?;
    let failures: Vec<&Ended> = ended
        .iter()
        .filter(|ended| ended.failure.is_some())
        .collect();
    for failed in &failures {
        eprintln!("\n{}", failed.explanation());
    }
    let executions: u64 = ended.iter().map(|ended| ended.progress.executions).sum();
    println!(
        "{} targets, {} executions, {} failed",
        ended.len(),
        libfuzzer::grouped(executions),
        failures.len()
    );
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
