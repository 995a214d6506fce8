//! Options for plain tests, and test binaries by their harness.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;
use kata_test_runner::{
    Binary, BinaryKind, Outcome, PlainOptions, Record, SuspectPattern, binary_kind,
};

/// Options for plain tests.
#[derive(Clone, Default, clap::Args)]
pub struct PlainArguments {
    /// Also runs plain tests that are marked `#[ignore]`.
    #[arg(long)]
    include_ignored: bool,

    /// Ends a plain test after this many seconds. Default: 600.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,

    /// Runs this many plain tests of a binary at once on this host. Default: the number of CPUs.
    #[arg(long, value_name = "COUNT")]
    test_threads: Option<NonZeroUsize>,

    /// Starts no plain test after one has failed.
    #[arg(long)]
    fail_fast: bool,

    /// Suspects a plain test that passes of a skip if a line of its output matches this regular
    /// expression.
    #[arg(long, value_name = "REGEX")]
    suspect_pattern: Option<SuspectPattern>,

    /// What suspected skips are: `report` only names them, `fail` makes them errors.
    #[arg(long, value_name = "ACTION", default_value = "report")]
    suspects: Suspects,

    /// Runs the plain tests of a binary in one process on this host, as `cargo test` does. They have one
    /// outcome, `main`.
    #[arg(long)]
    pub shared_process: bool,
}

/// What a suspected skip is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Suspects {
    #[default]
    Report,
    Fail,
}

impl PlainArguments {
    pub(super) fn options(&self) -> PlainOptions {
        let default = PlainOptions::default();
        PlainOptions {
            limit: self.timeout.map_or(default.limit, Duration::from_secs),
            threads: self.test_threads.unwrap_or(default.threads),
            fail_fast: self.fail_fast,
            runs_ignored: self.include_ignored,
            pattern: self.suspect_pattern.clone().unwrap_or_default(),
        }
    }

    /// Returns an error message if there are suspected skips and they are errors.
    pub(super) fn suspects_error(&self, outcomes: &[Record]) -> Option<String> {
        let suspects = outcomes
            .iter()
            .filter(|one| one.outcome == Outcome::SuspectedSkip);
        let count = suspects.count();
        let plural = if count == 1 { "" } else { "s" };
        (self.suspects == Suspects::Fail && count > 0).then(|| {
            format!(
                "{count} suspected skip{plural}: add a place that meets the requirement, or change \
                 --suspect-pattern"
            )
        })
    }
}

/// Test binaries by their harness.
pub(super) struct Binaries {
    pub(super) plain: Vec<Binary>,
    others: Vec<(Binary, BinaryKind)>,
}

impl Binaries {
    /// Sorts binaries by their harness.
    ///
    /// # Errors
    /// If an executable cannot be read.
    pub(super) fn sort(binaries: Vec<Binary>, arguments: &PlainArguments) -> Result<Self> {
        let mut sorted = Self {
            plain: Vec::new(),
            others: Vec::new(),
        };
        for binary in binaries {
            match binary_kind(&binary)? {
                BinaryKind::Plain if !arguments.shared_process => sorted.plain.push(binary),
                kind => sorted.others.push((binary, kind)),
            }
        }
        Ok(sorted)
    }

    /// Returns the binaries that run as a whole.
    pub(super) fn others(&self) -> impl Iterator<Item = &Binary> {
        self.others.iter().map(|(binary, _)| binary)
    }

    /// Returns the harness of a binary that runs as a whole.
    pub(super) fn kind(&self, binary: &Binary) -> BinaryKind {
        let known = self.others.iter().find(|(known, _)| known.id == binary.id);
        known.map_or(BinaryKind::Foreign, |(_, kind)| *kind)
    }
}

/// Returns whether a name contains one of the filters, or there are none.
pub(super) fn is_named(name: &str, filters: &[String]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
}
