//! Options for plain tests, and test binaries by their harness.

use anyhow::Result;
use kata_test_runner::{
    Binary, BinaryKind, Config, Outcome, PlainOptions, PlainTest, Record, Selected, Spread,
    SuspectPattern, SuspectPolicy, TestName, TestSelection, binary_kind, plural,
};

use super::selection::TestOptions;

/// Options for plain tests.
#[derive(Clone, Default, clap::Args)]
pub struct PlainArguments {
    /// A plain test that passes is a suspected skip if a line of its output matches this regular
    /// expression.
    #[arg(long, value_name = "REGEX")]
    suspect_pattern: Option<SuspectPattern>,

    /// How suspected skips count: `report` only names them, `fail` makes them errors. Default: the
    /// configuration's, or else `report`.
    #[arg(long, value_name = "ACTION")]
    suspects: Option<Suspects>,

    /// Runs the plain tests of a binary in one process on this host, as `cargo test` does. They have one
    /// outcome, `main`.
    #[arg(long)]
    pub shared_process: bool,
}

/// What a suspected skip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Suspects {
    Report,
    Fail,
}

impl PlainArguments {
    /// Returns how plain tests run. What the command line leaves open is the configuration's.
    pub(super) fn options(
        &self,
        tests: &TestOptions,
        config: &Config,
        spread: Spread,
    ) -> PlainOptions {
        let default = PlainOptions::default();
        let configured = config.suspects.pattern.clone().map(SuspectPattern::from);
        PlainOptions {
            limit: tests.timeout(),
            threads: tests.test_threads().unwrap_or(default.threads),
            fail_fast: tests.fail_fast(),
            spread,
            pattern: self
                .suspect_pattern
                .clone()
                .or(configured)
                .unwrap_or_default(),
            ..default
        }
    }

    /// Returns an error message if there are suspected skips and they are errors.
    pub(super) fn suspects_error(&self, config: &Config, outcomes: &[Record]) -> Option<String> {
        let fails = match self.suspects {
            Some(chosen) => chosen == Suspects::Fail,
            None => config.suspects.policy == SuspectPolicy::Fail,
        };
        let suspects = outcomes
            .iter()
            .filter(|one| one.outcome == Outcome::SuspectedSkip);
        let count = suspects.count();
        (fails && count > 0).then(|| {
            let skips = plural(count, "suspected skip");
            format!(
                "{skips}: add a place that meets the requirement, or change \
                 --suspect-pattern"
            )
        })
    }
}

/// Test binaries by their harness.
pub(super) struct Binaries {
    pub(super) plain: Vec<Binary>,
    /// Those that run as a whole.
    pub(super) others: Vec<(Binary, BinaryKind)>,
}

impl Binaries {
    /// Sorts binaries by their harness.
    ///
    /// # Errors
    /// If an executable cannot be read.
    pub(super) fn sort(
        binaries: Vec<Binary>,
        arguments: &PlainArguments,
        config: &Config,
    ) -> Result<Self> {
        let mut sorted = Self {
            plain: Vec::new(),
            others: Vec::new(),
        };
        for binary in binaries {
            match binary_kind(&binary)? {
                BinaryKind::Foreign if config.is_libtest_compatible(&binary.id) => {
                    sorted.plain.push(binary);
                }
                BinaryKind::Plain if !arguments.shared_process => sorted.plain.push(binary),
                kind => sorted.others.push((binary, kind)),
            }
        }
        Ok(sorted)
    }

    /// Returns the binaries that run as a whole.
    pub(super) fn others(&self) -> Vec<Binary> {
        let others = self.others.iter().map(|(binary, _)| binary);
        others.cloned().collect()
    }
}

/// Keeps the selected tests, each with what the configuration states about it.
pub(super) fn select(tests: &mut Vec<PlainTest>, selection: &TestSelection, config: &Config) {
    tests.retain_mut(|test| {
        let name = TestName::new(&test.id.binary, &test.id.test, test.ignored.as_deref());
        let settings = config.for_test(&name);
        let ignored = test.ignored.is_some() && !settings.runs_ignored;
        let selected = selection.selects(&name, ignored);
        test.runs = selected == Selected::Run;
        test.settings = settings;
        selected != Selected::No
    });
}
