//! `cargo kata-test test`: runs every test in the first place where its requirement is met, or in each.
//!
//! It makes a plan; then the tests run that can run here, each binary as its harness demands, and the
//! runner runs the others in the plan's places.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kata_test_runner::{
    Binary, BinaryKind, Config, DEFAULT_LIMIT, Listing, Outcome, PlainOptions, PlainRun, PlainTest,
    ProcessEnd, Reason, Record, Run, RunIgnored, RunStatus, Selected, StopToken, TestId, TestName,
    TestSelection, Vms, Workspace, list_plain, plural, run_status, unregistered_tests,
};

use super::build::Build;
use super::elsewhere::Elsewhere;
use super::exit_codes;
use super::interrupt::Interrupts;
use super::no_tests::NoTests;
use super::nowhere::NowhereOptions;
use super::places::PlaceOptions;
use super::plain::{Binaries, PlainArguments, select};
use super::selection::{TestOptions, default_filter_note};
use super::{cargo, everywhere, facts, matrix, plan};

/// The time limit of many tests that run in one process, or as documentation tests, with their build.
const WHOLE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Options of the command.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// The places.
    #[command(flatten)]
    pub places: PlaceOptions,

    /// The test binaries.
    #[command(flatten)]
    pub build: Build,

    /// How plain tests run.
    #[command(flatten)]
    pub plain: PlainArguments,

    /// In each place that is a VM, tests of a binary run in at most this many VMs at the same time. Default: one
    /// for each CPU, if that is expected to be faster, by the durations of earlier runs. There are fewer if
    /// there is too little memory.
    #[arg(long, value_name = "N")]
    pub(super) vms: Option<NonZeroUsize>,

    #[command(flatten)]
    nowhere: NowhereOptions,

    /// Which tests, and their limits.
    #[command(flatten)]
    pub tests: TestOptions,

    /// What to do if no test is selected, or there are none: `pass`, `warn`, or `fail` with exit code 4.
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "fail",
        hide_possible_values = true,
        help_heading = "Test selection"
    )]
    no_tests: NoTests,
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
    let config = Config::load(&workspace.root)?;
    let selection = options.tests.selection(config.default_filter.as_ref());
    let options = &Options {
        places: options.places.with_config(&config, &workspace.root)?,
        ..options.clone()
    };
    let mut run = Run::start(&workspace.target.join("kata-test"))?;
    let attempts = options.tests.attempts();
    run.set_attempts(attempts);
    options.tests.set_up(&mut run);
    if let Some(seed) = attempts.shuffle {
        println!("shuffle seed: {seed}");
    }
    let interrupts = Interrupts::watch()?;
    let binaries = plan::binaries(&workspace, &options.build, &config, env)?;
    run.set_secrets(&config.secrets, &binaries);
    let mut env = env.to_vec();
    env.push(run.name_binaries(&binaries)?);
    let binaries = Binaries::sort(binaries, &options.plain, &config)?;
    let mut errors = Vec::new();
    let mut plain = list(&binaries.plain, &run, interrupts.stop(), &mut errors)?;
    select(&mut plain, &selection, &config);
    if interrupts.received() {
        return Ok(ExitCode::from(exit_codes::INTERRUPTED));
    }
    let mut elsewhere = match Elsewhere::plan(
        options,
        &config,
        &binaries,
        &plain,
        &selection,
        &workspace,
        interrupts.stop(),
    ) {
        // Nothing has run yet, so there is nothing to report.
        Err(_) if interrupts.received() => return Ok(ExitCode::from(exit_codes::INTERRUPTED)),
        planned => planned?,
    };
    if let Some(plan) = &elsewhere.plan {
        plan.record(&run)?;
        env.push(plan.exclude_elsewhere(&elsewhere.candidates, &run)?);
    }
    let (mut passed_here, mut documented) = (true, false);
    if options.places.has_here() {
        if let Some(runner) = workspace.ignored_runner() {
            eprintln!("warning: tests run without the runner of {runner}, which is ignored");
        }
        let here = Here {
            options,
            config: &config,
            selection: &selection,
            env: &env,
            stop: interrupts.stop(),
        };
        passed_here = here.run(&binaries, &mut run)?;
        let name = TestName::new("doc", "doc", None);
        documented = options.build.has_doctests(&workspace)
            && selection.filters.is_empty()
            && selection.partition.is_none_or(|part| part.contains(&name));
        if documented && !interrupts.received() && !here.run_doctests(&mut run)? {
            errors.push("a documentation test failed: see its output above".to_owned());
        }
    }
    let spread = options.places.spread();
    let how = PlainOptions {
        vms: Vms::new(options.vms),
        attempts,
        ..options.plain.options(&options.tests, &config, spread)
    };
    let program = facts::program(&workspace.target.join("kata-test"))?;
    let plain = PlainRun {
        binaries: &binaries.plain,
        tests: &plain,
        run: &run,
        options: &how,
        program: options.places.has_others().then_some(&program),
    };
    elsewhere.run(&plain, &binaries, &interrupts)?;

    let outcomes = run.merge()?;
    let ledger = run.ledger()?;
    match ledger.everywhere {
        true => print!("{}", everywhere::summary(&ledger, &outcomes)),
        false => print_summary(&outcomes, |passed| passed.place != "here"),
    }
    println!("{}", matrix::of_outcomes(&outcomes, &ledger));
    print_paths(run.dir());
    let note = default_filter_note(&selection).filter(|_| !outcomes.is_empty());
    if let Some(note) = note {
        println!("{note}");
    }
    let conclusion = run_status(&outcomes);
    let is_part = selection.is_part();
    errors.extend(options.nowhere.errors(allowed.as_ref(), &outcomes, is_part));
    errors.extend(options.tests.flaky_error(&outcomes));
    errors.extend(options.plain.suspects_error(&config, &outcomes));
    let is_empty = outcomes.is_empty();
    match conclusion {
        RunStatus::Passed if !passed_here => {
            errors.push("a test binary failed: see its output above".to_owned());
        }
        RunStatus::NothingRan if is_empty => {}
        conclusion => println!("{conclusion}"),
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
    // Documentation tests write no records.
    if is_empty && !documented && errors.is_empty() && !interrupts.received() {
        return Ok(options.no_tests.report(&selection));
    }
    let is_ignored = outcomes.iter().all(|one| one.outcome == Outcome::Ignored);
    let good = passed_here
        && errors.is_empty()
        && (is_empty || is_ignored || conclusion == RunStatus::Passed);
    Ok(match (interrupts.received(), good) {
        (true, _) => ExitCode::from(exit_codes::INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Lists the plain tests. A binary that does not list its tests has failed.
fn list(
    binaries: &[Binary],
    run: &Run,
    stop: StopToken<'_>,
    errors: &mut Vec<String>,
) -> Result<Vec<PlainTest>> {
    let mut tests = Vec::new();
    for binary in binaries {
        match list_plain(binary, stop) {
            Ok(listed) => tests.extend(listed),
            Err(_) if stop.is_requested() => break,
            Err(error) => {
                let reason = Reason::infrastructure(error.to_string(), "--list");
                run.record_failure("here", &TestId::new(&*binary.id, "main"), reason, None)?;
                errors.push(error.to_string());
            }
        }
    }
    Ok(tests)
}

/// The name of a test, and the reason why it is ignored, if it is.
type Listed = (String, Option<String>);

/// What runs here, a binary after the other.
struct Here<'a> {
    options: &'a Options,
    config: &'a Config,
    selection: &'a TestSelection,
    env: &'a [(&'a str, OsString)],
    stop: StopToken<'a>,
}

impl Here<'_> {
    /// Runs the binaries with kata-test's harness, and those with another that cannot be listed. Returns
    /// whether the former succeeded: the outcomes of the latter are recorded.
    fn run(&self, binaries: &Binaries, run: &mut Run) -> Result<bool> {
        let mut passed = true;
        for (binary, kind) in &binaries.others {
            if self.stop.is_requested() {
                break;
            }
            let Some(arguments) = self.arguments(binary, *kind)? else {
                continue;
            };
            println!("running {} here", binary.id);
            let mut command = binary.command(&binary.executable);
            command
                .args(arguments)
                .envs(self.env.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null());
            let what = || format!("cannot run {}", binary.id);
            if *kind == BinaryKind::Annotated {
                let status = run.run_command(command, self.stop).with_context(what)?;
                passed &= status.success();
                continue;
            }
            let start = Instant::now();
            let limit = self.limit(binary, *kind);
            let end = run.run_within(command, limit, self.stop, &mut print);
            run.record_main(&binary.id, &end.with_context(what)?, start.elapsed())?;
        }
        Ok(passed)
    }

    /// Returns the time limit of a binary that runs as a whole.
    fn limit(&self, binary: &Binary, kind: BinaryKind) -> Duration {
        if kind == BinaryKind::Plain {
            return WHOLE_LIMIT;
        }
        let main = TestName::new(&binary.id, "main", None);
        let configured = self.config.for_test(&main).timeout;
        let stated = self.options.tests.timeout().or(configured);
        stated.unwrap_or(DEFAULT_LIMIT)
    }

    /// Returns the arguments of a binary that runs as a whole; `None` if none of its tests is selected.
    fn arguments(&self, binary: &Binary, kind: BinaryKind) -> Result<Option<Vec<String>>> {
        let selection = self.selection;
        let is_listed = !selection.filters.is_empty()
            || selection.default_filter.is_some()
            || selection.partition.is_some();
        if !is_listed {
            return Ok(Some(self.options.tests.libtest_arguments()));
        }
        let limits = self.options.tests.limit_arguments();
        let Some(tests) = self.tests_of(binary, kind)? else {
            let main = TestName::new(&binary.id, "main", None);
            let selected = selection.selects(&main, false) == Selected::Run;
            return Ok(selected.then_some(limits));
        };
        let count = tests.len();
        let others = tests.into_iter().filter(|(test, ignored)| {
            let name = TestName::new(&binary.id, test, ignored.as_deref());
            selection.selects(&name, ignored.is_some()) == Selected::No
        });
        let others: Vec<String> = others.map(|(test, _)| test).collect();
        if others.len() == count {
            return Ok(None);
        }
        // The others are left out: of kata-test's harness, a test that is asked for by its name fails if its
        // requirement is unmet.
        let ignored = (selection.ignored != RunIgnored::No).then_some("--include-ignored");
        let arguments = ["--exact"].into_iter().chain(ignored);
        let arguments = arguments.map(str::to_owned).chain(limits);
        let skips = others
            .into_iter()
            .flat_map(|test| ["--skip".to_owned(), test]);
        Ok(Some(arguments.chain(skips).collect()))
    }

    /// Lists the tests of a binary, with the reasons of those that are ignored. Returns `None` if it has no list.
    fn tests_of(&self, binary: &Binary, kind: BinaryKind) -> Result<Option<Vec<Listed>>> {
        Ok(match kind {
            BinaryKind::Annotated => Listing::of(binary, None, self.stop)?.map(|listing| {
                let tests = listing.tests.into_iter();
                let listed = tests.map(|test| {
                    let ignored = test.is_ignored().then(String::new);
                    (test.test, ignored)
                });
                listed.collect()
            }),
            BinaryKind::Plain => {
                let tests = list_plain(binary, self.stop)?.into_iter();
                Some(tests.map(|test| (test.id.test, test.ignored)).collect())
            }
            BinaryKind::Foreign => None,
        })
    }

    /// Runs documentation tests, which rustdoc builds and runs. Returns whether they succeeded.
    fn run_doctests(&self, run: &mut Run) -> Result<bool> {
        println!("running documentation tests, which run here only");
        let mut command = cargo::cargo();
        command
            .args(["test", "--doc"])
            .args(self.options.build.arguments())
            .args(["--no-fail-fast", "--"])
            .args(self.options.tests.libtest_arguments())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let end = run.run_within(command, WHOLE_LIMIT, self.stop, &mut print);
        let end = end.context("cannot run cargo")?;
        if let ProcessEnd::TimedOut(_) = end {
            eprintln!("documentation tests: {end}");
        }
        Ok(end == ProcessEnd::Exited(0))
    }
}

/// Prints output of tests. A closed standard output is no reason to stop.
pub(super) fn print(bytes: &[u8]) {
    drop(std::io::stdout().write_all(bytes));
}

/// Prints the paths of the outcomes and the report.
pub fn print_paths(dir: &Path) {
    println!("records: {}", dir.join("outcomes.jsonl").display());
    println!("report: {}", dir.join("report.html").display());
}

/// Fails if a source file of a package that uses kata-test has a test that no harness runs.
fn refuse_unrun_tests(workspace: &Workspace) -> Result<()> {
    let mut count = 0;
    // Other packages may have a harness of their own that runs such tests.
    let is_ours = |manifest: &&Path| {
        let text = std::fs::read_to_string(manifest).unwrap_or_default();
        text.contains("kata-test") || text.contains("katatestutils")
    };
    for manifest in workspace.manifests().filter(is_ours) {
        for test in unregistered_tests(manifest)? {
            eprintln!("{test}");
            count += 1;
        }
    }
    ensure!(
        count == 0,
        "no harness runs {}, see above",
        plural(count, "test")
    );
    Ok(())
}

/// Prints the tests that did not run, with their reasons, after the output of all binaries, and those
/// passed tests that `lists_passed` selects.
pub(super) fn print_summary(outcomes: &[Record], lists_passed: fn(&Record) -> bool) {
    println!("\ntests: {}", counts(outcomes));
    for outcome in outcomes {
        let is_plain = outcome.outcome == Outcome::Passed && outcome.reasons.is_empty();
        if !is_plain || lists_passed(outcome) {
            print!("{}", of_outcome(outcome));
        }
    }
}

/// Formats an outcome with its reasons.
pub(super) fn of_outcome(outcome: &Record) -> String {
    let Record { binary, test, .. } = outcome;
    let mut text = match (outcome.outcome, outcome.place.as_str()) {
        (Outcome::Nowhere, _) => format!("  {binary} {test}: nowhere\n"),
        (kind, "here") => format!("  {binary} {test}: {kind}\n"),
        (kind, place) => format!("  {binary} {test}: {kind} in {place}\n"),
    };
    if let Some(line) = &outcome.suspect {
        let _ = writeln!(text, "    its output: {line}");
    }
    for reason in &outcome.reasons {
        let _ = writeln!(text, "    {reason}");
    }
    let is_noted = matches!(
        outcome.outcome,
        Outcome::ExpectedFailure | Outcome::UnexpectedPass | Outcome::Unstable
    );
    let issue = outcome.issue.as_ref().map(|issue| format!("issue {issue}"));
    for text_of_it in outcome.reason.iter().chain(&issue).filter(|_| is_noted) {
        let _ = writeln!(text, "    {text_of_it}");
    }
    text
}

/// Counts all outcomes: `62 passed, 2 ignored, 0 nowhere, 64 in all`.
pub(super) fn counts(outcomes: &[Record]) -> String {
    let count = |kind| outcomes.iter().filter(|one| one.outcome == kind).count();
    let always = [Outcome::Passed, Outcome::Skipped];
    let kinds = Outcome::ALL
        .into_iter()
        .filter(|kind| *kind != Outcome::Nowhere && (always.contains(kind) || count(*kind) > 0));
    let counted: Vec<String> = kinds
        .map(|kind| format!("{} {kind}", count(kind)))
        .collect();
    let nowhere = count(Outcome::Nowhere);
    let all = outcomes.len();
    format!("{}, {nowhere} nowhere, {all} in all", counted.join(", "))
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
