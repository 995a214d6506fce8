//! `cargo kata-test test`: runs every test in the first place where its requirement is met.
//!
//! It makes a plan, then `cargo test` runs the tests that can run here, and the runner runs the others in
//! the plan's places.

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
use super::nowhere::NowhereOptions;
use super::places::PlaceOptions;
use super::{cargo, matrix, plan};

/// Options of the command.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// The places.
    #[command(flatten)]
    pub places: PlaceOptions,

    /// The test binaries.
    #[command(flatten)]
    pub build: Build,

    #[command(flatten)]
    nowhere: NowhereOptions,

    /// Selects the tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the command. `env` are additional variables for the tests here. A failed test is an exit code,
/// not an error.
///
/// # Errors
/// If the tests cannot be built, or their records cannot be read.
pub fn run(options: &Options, env: &[(&str, OsString)]) -> Result<ExitCode> {
    let allowed = options.nowhere.read()?;
    let workspace = options.build.workspace()?;
    refuse_unrun_tests(&workspace)?;
    let named = kata_test_runner::Config::load(&workspace.root)?.places;
    let options = &Options {
        places: options.places.clone().with_names(&named)?,
        ..options.clone()
    };
    let mut run = Run::start(&workspace.target.join("kata-test"))?;
    let interrupts = Interrupts::watch()?;
    let binaries = plan::binaries(&workspace, &options.build, env)?;
    let mut env = env.to_vec();
    env.push(run.name_binaries(&binaries)?);
    let mut elsewhere = if options.places.has_others() {
        match Elsewhere::plan(options, binaries, &workspace, interrupts.stop()) {
            // Nothing has run yet, so there is nothing to report.
            Err(_) if interrupts.received() => return Ok(ExitCode::from(interrupt::EXIT_CODE)),
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
    if interrupts.received() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let passed_here =
        !options.places.has_here() || run_here(options, &env, &mut run, interrupts.stop())?;
    if let Some(elsewhere) = &mut elsewhere {
        elsewhere.run(&run, &interrupts)?;
    }

    let outcomes = run.merge()?;
    print_summary(&outcomes, |passed| passed.place != "here");
    println!("{}", matrix::of_outcomes(&outcomes));
    print_paths(run.dir());
    let conclusion = run_status(&outcomes);
    let is_part = !options.filters.is_empty();
    let mut errors = options.nowhere.errors(allowed.as_ref(), &outcomes, is_part);
    if passed_here || conclusion != RunStatus::Passed {
        println!("{conclusion}");
    } else {
        errors.push("cargo test failed: see its output above".to_owned());
    }
    let opt_ins = std::env::var("KATA_TEST_ALLOW").unwrap_or_default();
    errors.extend(
        run.unknown_opt_ins(&opt_ins)?
            .iter()
            .map(ToString::to_string),
    );
    for error in &errors {
        eprintln!("error: {error}");
    }
    // Tests without the attribute write no records, so a filter may have matched some of those.
    let unknown = outcomes.is_empty() && !options.filters.is_empty();
    let good = passed_here && errors.is_empty() && (unknown || conclusion == RunStatus::Passed);
    Ok(match (interrupts.received(), good) {
        (true, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Runs `cargo test`, which also runs other harnesses and documentation tests. Returns whether it
/// succeeded.
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

/// The tests that run in other places.
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
        let mut candidates = options.places.candidates(options.build.is_offline())?;
        let records = workspace.target.join("kata-test");
        let told = &mut |text: &str| eprintln!("{text}");
        let mut plan = kata_test_runner::plan(&binaries, &mut candidates, &records, stop, told)?;
        plan::filter(&mut plan, &options.filters);
        if !options.filters.is_empty() {
            // Whether a filter matches one of their tests is not known.
            plan.opaque.clear();
        }
        if options.places.has_here() {
            // Frees memory for the tests that run here first.
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
            // A closed standard output is no reason to stop.
            output: &mut |bytes: &[u8]| drop(std::io::stdout().write_all(bytes)),
            stop: interrupts.stop(),
        };
        self.plan
            .run_in_places(&self.binaries, &mut self.candidates, run, &mut reporter)?;
        Ok(())
    }
}

/// Prints the paths of the outcomes and the report.
pub fn print_paths(dir: &Path) {
    println!("records: {}", dir.join("outcomes.jsonl").display());
    println!("report: {}", dir.join("report.html").display());
}

/// Fails if a source file has a test that no harness runs.
fn refuse_unrun_tests(workspace: &Workspace) -> Result<()> {
    let mut count = 0;
    for manifest in workspace.manifests() {
        for test in unregistered_tests(manifest)? {
            eprintln!("{test}");
            count += 1;
        }
    }
    ensure!(count == 0, "no harness runs {count} tests");
    Ok(())
}

/// Prints the tests that did not run, with their reasons, after the output of all binaries, and those
/// passed tests that `lists_passed` selects.
pub(super) fn print_summary(outcomes: &[Record], lists_passed: fn(&Record) -> bool) {
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
            (Outcome::Passed, _) if outcome.reasons.is_empty() && !lists_passed(outcome) => {}
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
    fn every_test_of_this_workspace_has_a_harness() {
        let workspace = Workspace::here().unwrap();
        refuse_unrun_tests(&workspace).unwrap();
        assert!(workspace.manifests().count() > 4);
    }
}
