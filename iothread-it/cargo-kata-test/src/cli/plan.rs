//! `cargo kata-test plan`: shows which test would run where.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kata_test_runner::{
    Binary, CandidatePlace, Config, ExpectedDurations, PlanInput, RecordedHost, StopToken,
    Workspace, list_plain, plan, plan_plain,
};

use super::build::Build;
use super::places::PlaceOptions;
use super::plain::{Binaries, PlainArguments, select};
use super::selection::{TestOptions, default_filter_note};
use super::{facts, matrix};

/// Options of the command.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// The places.
    #[command(flatten)]
    pub places: PlaceOptions,

    /// The test binaries.
    #[command(flatten)]
    pub build: Build,

    /// Adds a host by its facts: the output of `cargo kata-test facts --json` there. The file's name
    /// becomes the place's.
    #[arg(long, value_name = "FILE")]
    facts: Vec<PathBuf>,

    /// Also shows tests without a requirement.
    #[arg(long)]
    all: bool,

    /// Prints the plan as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    tests: TestOptions,
}

/// Runs the command. `env` are additional variables for the tests.
///
/// # Errors
/// If the tests cannot be built, or a binary does not list its tests.
pub fn run(options: &Options, env: &[(&str, OsString)]) -> Result<ExitCode> {
    let workspace = options.build.workspace()?;
    let config = Config::load(&workspace.root)?;
    let options = &Options {
        places: options.places.with_config(&config, &workspace.root)?,
        ..options.clone()
    };
    let binaries = binaries(&workspace, &options.build, &config, env)?;
    let binaries = Binaries::sort(binaries, &PlainArguments::default(), &config)?;
    let others = binaries.others();
    let offline = options.build.is_offline();
    let mut candidates = options.places.candidates(&config, offline)?;
    candidates.extend(
        options
            .facts
            .iter()
            .map(|file| CandidatePlace::Recorded(RecordedHost::new(file))),
    );
    let records = workspace.target.join("kata-test");
    let selection = options.tests.selection(config.default_filter.as_ref());
    let mut tests = Vec::new();
    for binary in &binaries.plain {
        tests.extend(list_plain(binary, StopToken::NEVER)?);
    }
    select(&mut tests, &selection, &config);
    let input = PlanInput {
        binaries: &others,
        plain: &tests,
        selection: &selection,
        spread: options.places.spread(),
        record_root: &records,
        stop: StopToken::NEVER,
    };
    let made = plan(input, &mut candidates, &mut |text| eprintln!("{text}"))?;
    let plain = plan_plain(
        &tests,
        &mut candidates,
        options.places.spread(),
        &facts::program(&records)?,
        StopToken::NEVER,
        &mut |text| eprintln!("{text}"),
    )?;
    if let Some(note) = default_filter_note(&selection) {
        eprintln!("{note}");
    }
    if options.json {
        let durations = ExpectedDurations::of_earlier_runs(&records);
        println!("{}", made.to_json(&plain, &durations));
    } else {
        print!("{}", matrix::of_plan(&made, &plain, options.all));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the selected test binaries. `env` are additional variables for them.
pub(super) fn binaries(
    workspace: &Workspace,
    build: &Build,
    config: &Config,
    env: &[(&str, OsString)],
) -> Result<Vec<Binary>> {
    let mut binaries = workspace.test_binaries(&build.arguments())?;
    for binary in &mut binaries {
        binary.excludes = config.package_files.clone();
        binary.secrets = config.secrets.clone();
        let further = env.iter().map(|(name, value)| (name.into(), value.clone()));
        binary.env.extend(further);
    }
    Ok(binaries)
}
