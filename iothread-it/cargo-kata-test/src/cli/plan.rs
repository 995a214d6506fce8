//! `cargo kata-test plan`: which test would run where. No test runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kata_test_runner::{Binary, CandidatePlace, Plan, RecordedHost, StopToken, Workspace, plan};

use super::build::Build;
use super::{matrix, places};

/// What to plan for.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// Where tests may run.
    #[command(flatten)]
    pub places: places::Choice,

    /// What to build.
    #[command(flatten)]
    pub build: Build,

    /// Judges a host that is not here, by what `cargo kata-test facts --json` printed there. The host is
    /// called as the file.
    #[arg(long, value_name = "FILE")]
    facts: Vec<PathBuf>,

    /// Shows the tests that need nothing too.
    #[arg(long)]
    all: bool,

    /// Plans the tests whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the command, with further variables for the tests.
///
/// # Errors
/// If the tests cannot be built, or a binary does not list its tests.
pub fn run(options: &Options, env: &[(&str, OsString)]) -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    let binaries = binaries(&workspace, &options.build, env)?;
    let mut candidates = options.places.candidates()?;
    candidates.extend(
        options
            .facts
            .iter()
            .map(|file| CandidatePlace::Recorded(RecordedHost::new(file))),
    );
    let records = workspace.target.join("kata-test");
    let mut made = plan(
        &binaries,
        &mut candidates,
        &records,
        StopToken::NEVER,
        &mut |text| {
            eprintln!("{text}");
        },
    )?;
    retain(&mut made, &options.filters);
    print!("{}", matrix::of_plan(&made, options.all));
    Ok(ExitCode::SUCCESS)
}

/// Builds the workspace's test binaries, each to be run with further variables.
pub(super) fn binaries(
    workspace: &Workspace,
    build: &Build,
    env: &[(&str, OsString)],
) -> Result<Vec<Binary>> {
    let mut binaries = workspace.test_binaries(&build.arguments())?;
    for binary in &mut binaries {
        let further = env.iter().map(|(name, value)| (name.into(), value.clone()));
        binary.env.extend(further);
    }
    Ok(binaries)
}

/// Keeps the tests that the filters name, as libtest understands them.
pub(super) fn retain(plan: &mut Plan, filters: &[String]) {
    if !filters.is_empty() {
        plan.tests.retain(|test| {
            filters
                .iter()
                .any(|filter| test.id.test.contains(filter.as_str()))
        });
    }
}
