//! `cargo xtask test`: every test of the workspace.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use iothread_it::artifacts::{MANIFEST_ENV, Manifest, QemuChoice};
use kata_test::runner::{Conclusion, Outcome, OutcomeKind, Run, conclude, scan};

use crate::interrupt::{self, Interrupts};
use crate::{cargo, provision};

#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Runs the tests whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    no_test_is_lost()?;
    provision::provision(&QemuChoice::Auto)?;
    let target = cargo::target_directory()?;
    let run = Run::start(&target.join("kata-test"))?;
    let interrupts = Interrupts::watch()?;
    let status = cargo::cargo()
        .args([
            "test",
            "--workspace",
            "--all-features",
            "--no-fail-fast",
            "--",
        ])
        .args(&options.filters)
        .envs(run.env())
        .env(MANIFEST_ENV, Manifest::path_in(&target))
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;

    let outcomes = run.merge()?;
    summarise(&outcomes);
    println!("records: {}", run.dir().join("outcomes.jsonl").display());
    let conclusion = conclude(&outcomes);
    println!("{conclusion}");
    let allowed = std::env::var("KATA_TEST_ALLOW").unwrap_or_default();
    let unknown_opt_ins = run.unknown_opt_ins(&allowed)?;
    for unknown in &unknown_opt_ins {
        eprintln!("error: {unknown}");
    }
    // Tests without the attribute leave no records: whether a filter matched one is not known.
    let unknown = outcomes.is_empty() && !options.filters.is_empty();
    Ok(match (interrupts.seen(), status.success()) {
        (true, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, true) if !unknown_opt_ins.is_empty() => ExitCode::FAILURE,
        (false, true) if unknown || conclusion == Conclusion::Good => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

/// Fails if a source has a test that nothing runs.
fn no_test_is_lost() -> Result<()> {
    let mut count = 0;
    for manifest in cargo::manifests()? {
        for stray in scan(&manifest)? {
            eprintln!("{stray}");
            count += 1;
        }
    }
    ensure!(count == 0, "{count} tests are run by nothing");
    Ok(())
}

/// What did not run, and why: a skip must not drown in the output of many binaries.
pub(crate) fn summarise(outcomes: &[Outcome]) {
    let count = |kind| outcomes.iter().filter(|o| o.outcome == kind).count();
    println!(
        "\nannotated tests: {} passed, {} skipped, {} in all",
        count(OutcomeKind::Passed),
        count(OutcomeKind::Skipped),
        outcomes.len()
    );
    for outcome in outcomes {
        if outcome.outcome != OutcomeKind::Passed {
            println!("  {} {}: {}", outcome.binary, outcome.test, outcome.outcome);
        }
        for reason in &outcome.reasons {
            println!(
                "    needs {}: {} ({})",
                reason.constraint, reason.observed, reason.source
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_loses_no_test() {
        no_test_is_lost().unwrap();
        assert!(cargo::manifests().unwrap().len() > 4);
    }
}
