//! `cargo kata-test test`: every test, in the first place that takes it.
//!
//! First there is a plan. Cargo then runs the tests that can run here, with all that it does for
//! them, and the others go where the plan has them.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use kata_test_runner::{
    Binary, CandidatePlace, Outcome, Plan, Record, Reporter, Run, RunStatus, StopToken, Workspace,
    run_status, unregistered_tests,
};

use super::build::Build;
use super::interrupt::{self, Interrupts};
use super::nowhere::Expected;
use super::{cargo, matrix, places, plan};

/// What to run, where, and what is expected of it.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// Where tests may run.
    #[command(flatten)]
    pub places: places::Choice,

    /// What to build.
    #[command(flatten)]
    pub build: Build,

    #[command(flatten)]
    expected: Expected,

    /// Runs the tests whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the command, with further variables for the tests here.
///
/// # Errors
/// If the tests cannot be built, or their records cannot be read. That one failed is an exit code.
pub fn run(options: &Options, env: &[(&str, OsString)]) -> Result<ExitCode> {
    no_test_is_lost()?;
    let allowed = options.expected.read()?;
    let workspace = Workspace::here()?;
    let mut run = Run::start(&workspace.target.join("kata-test"))?;
    let interrupts = Interrupts::watch()?;
    let binaries = plan::binaries(&workspace, &options.build, env)?;
    let mut env = env.to_vec();
    env.push(run.name_binaries(&binaries)?);
    let mut elsewhere = if options.places.is_elsewhere() {
        match Elsewhere::plan(options, binaries, &workspace, interrupts.stop()) {
            // Nothing has run yet, so there is nothing to report.
            Err(_) if interrupts.seen() => return Ok(ExitCode::from(interrupt::EXIT_CODE)),
            planned => Some(planned?),
        }
    } else {
        None
    };
    if let Some(elsewhere) = &elsewhere {
        elsewhere.plan.record(&run)?;
        env.push(
            elsewhere
                .plan
                .exclude_elsewhere(&elsewhere.candidates, &run)?,
        );
    }
    if interrupts.seen() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let passed_here =
        !options.places.is_here() || run_here(options, &env, &mut run, interrupts.stop())?;
    if let Some(elsewhere) = &mut elsewhere {
        elsewhere.run(&run, &interrupts)?;
    }

    let outcomes = run.merge()?;
    summarise(&outcomes, |passed| passed.place != "here");
    println!("{}", matrix::of_outcomes(&outcomes));
    say_files(run.dir());
    let conclusion = run_status(&outcomes);
    // A filter leaves out tests that the list rightly has.
    let is_part = !options.filters.is_empty();
    let expected = &options.expected;
    let mut complaints = expected.complaints(allowed.as_ref(), &outcomes, is_part);
    if passed_here || conclusion != RunStatus::Passed {
        println!("{conclusion}");
    } else {
        complaints.push("a test without a record failed: see what cargo printed above".to_owned());
    }
    let opt_ins = std::env::var("KATA_TEST_ALLOW").unwrap_or_default();
    complaints.extend(
        run.unknown_opt_ins(&opt_ins)?
            .iter()
            .map(ToString::to_string),
    );
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    // Tests without the attribute leave no records: whether a filter matched one is not known.
    let unknown = outcomes.is_empty() && !options.filters.is_empty();
    let good = passed_here && complaints.is_empty() && (unknown || conclusion == RunStatus::Passed);
    Ok(match (interrupts.seen(), good) {
        (true, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Has cargo run the tests here, those under other harnesses and those in documentation too. Returns
/// whether all was well.
fn run_here(
    options: &Options,
    env: &[(&str, OsString)],
    run: &mut Run,
    stop: StopToken<'_>,
) -> Result<bool> {
    let mut command = cargo::cargo();
    command
        .arg("test")
        .args(options.build.arguments())
        .args(["--no-fail-fast", "--"])
        .args(&options.filters)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    let status = run.run_command(command, stop).context("cannot run cargo")?;
    Ok(status.success())
}

/// What cannot be run here, and where it goes.
struct Elsewhere {
    binaries: Vec<Binary>,
    candidates: Vec<CandidatePlace>,
    plan: Plan,
}

impl Elsewhere {
    fn plan(
        options: &Options,
        binaries: Vec<Binary>,
        workspace: &Workspace,
        stop: StopToken<'_>,
    ) -> Result<Self> {
        let mut candidates = options.places.candidates()?;
        let records = workspace.target.join("kata-test");
        let told = &mut |text: &str| eprintln!("{text}");
        let mut plan = kata_test_runner::plan(&binaries, &mut candidates, &records, stop, told)?;
        plan::retain(&mut plan, &options.filters);
        if !options.filters.is_empty() {
            // Whether a filter matches one of their tests is not known.
            plan.opaque.clear();
        }
        if options.places.is_here() {
            // What runs here first may want the memory.
            candidates.iter_mut().for_each(CandidatePlace::rest);
        }
        Ok(Self {
            binaries,
            candidates,
            plan,
        })
    }

    fn run(&mut self, run: &Run, interrupts: &Interrupts) -> Result<()> {
        let mut reporter = Reporter {
            progress: &mut |text: &str| eprintln!("{text}"),
            // Output that nobody reads is no reason to stop.
            output: &mut |bytes: &[u8]| drop(std::io::stdout().write_all(bytes)),
            stop: interrupts.stop(),
        };
        self.plan
            .run_in_places(&self.binaries, &mut self.candidates, run, &mut reporter)?;
        Ok(())
    }
}

/// Where the outcomes are written, for machines and for a person.
pub fn say_files(dir: &Path) {
    println!("records: {}", dir.join("outcomes.jsonl").display());
    println!("report: {}", dir.join("report.html").display());
}

/// Fails if a source has a test that nothing runs.
fn no_test_is_lost() -> Result<()> {
    let mut count = 0;
    for manifest in cargo::manifests()? {
        for test in unregistered_tests(&manifest)? {
            eprintln!("{test}");
            count += 1;
        }
    }
    ensure!(count == 0, "{count} tests are run by nothing");
    Ok(())
}

/// What did not run, and why: a skip must not drown in the output of many binaries. Of what passed,
/// some is worth a line.
pub(super) fn summarise(outcomes: &[Record], is_worth_a_line: fn(&Record) -> bool) {
    let count = |kind| outcomes.iter().filter(|o| o.outcome == kind).count();
    println!(
        "\nannotated tests: {} passed, {} skipped, {} nowhere, {} in all",
        count(Outcome::Passed),
        count(Outcome::Skipped),
        count(Outcome::Nowhere),
        outcomes.len()
    );
    for outcome in outcomes {
        match (outcome.outcome, outcome.place.as_str()) {
            (Outcome::Passed, _) if outcome.reasons.is_empty() && !is_worth_a_line(outcome) => {}
            (Outcome::Nowhere, _) => println!("  {} {}: nowhere", outcome.binary, outcome.test),
            (kind, "here") => println!("  {} {}: {kind}", outcome.binary, outcome.test),
            (kind, place) => println!("  {} {}: {kind} in {place}", outcome.binary, outcome.test),
        }
        for reason in &outcome.reasons {
            println!("    {reason}");
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
