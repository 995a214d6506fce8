//! Options that select tests and limit how they run.

use std::num::NonZeroUsize;
use std::time::Duration;

use kata_test_runner::{Filter, Partition, RunIgnored, TestSelection, parse_duration};

/// Options that select tests and limit how they run.
#[derive(Clone, Default, clap::Args)]
pub struct TestOptions {
    /// Selects the tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    names: Vec<String>,

    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Test selection")]
struct Select {
    /// Leaves out the tests whose names contain one of these.
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,

    /// Compares FILTER with whole names.
    #[arg(long)]
    exact: bool,

    /// Selects the tests that match one of these expressions, a subset of nextest's filtersets:
    /// `package(net-*) & not test(/slow$/)`. Predicates: all(), none(), test(), package(), binary(),
    /// binary_id(), kind(), ignored().
    #[arg(
        short = 'E',
        long = "filter-expr",
        visible_alias = "filterset",
        value_name = "EXPRESSION"
    )]
    filters: Vec<Filter>,

    /// Runs only ignored tests.
    #[arg(long, conflicts_with = "include_ignored")]
    ignored: bool,

    /// Runs ignored tests too.
    #[arg(long)]
    include_ignored: bool,

    /// Runs part M of N of the tests, `hash:M/N`. Each test is in the same part on every machine.
    #[arg(long, value_name = "PART")]
    partition: Option<Partition>,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Starts no test after one has failed.
    #[arg(long, overrides_with = "no_fail_fast")]
    fail_fast: bool,

    /// Runs all tests, even if one has failed; the default.
    #[arg(long, overrides_with = "fail_fast")]
    no_fail_fast: bool,

    /// Ends a test that runs for longer, and reports it as timed out: `60` (seconds), `500ms`, `5m`.
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    timeout: Option<Duration>,

    /// Runs at most this many tests at a time.
    #[arg(long, value_name = "N")]
    test_threads: Option<NonZeroUsize>,
}

impl TestOptions {
    /// Returns the selection.
    #[must_use]
    pub fn selection(&self) -> TestSelection {
        let Select {
            skip,
            exact,
            filters,
            ignored,
            include_ignored,
            partition,
        } = self.select.clone();
        TestSelection {
            names: self.names.clone(),
            skip,
            exact,
            filters,
            ignored: match (ignored, include_ignored) {
                (true, _) => RunIgnored::Only,
                (_, true) => RunIgnored::Also,
                _ => RunIgnored::No,
            },
            partition,
        }
    }

    /// Returns the options as libtest and kata-test's harness have them. Filter expressions and partitions
    /// are not among them.
    pub(super) fn libtest_arguments(&self) -> Vec<String> {
        let mut arguments = self.limit_arguments();
        let select = &self.select;
        for name in &select.skip {
            arguments.extend(["--skip".to_owned(), name.clone()]);
        }
        let flags = [
            (select.exact, "--exact"),
            (select.ignored, "--ignored"),
            (select.include_ignored, "--include-ignored"),
        ];
        let given = flags.iter().filter(|(is_given, _)| *is_given);
        arguments.extend(given.map(|(_, flag)| (*flag).to_owned()));
        arguments.extend(self.names.iter().cloned());
        arguments
    }

    /// Returns the options of libtest that do not select tests.
    pub(super) fn limit_arguments(&self) -> Vec<String> {
        let threads = self.limits.test_threads;
        threads.map_or(Vec::new(), |count| vec![format!("--test-threads={count}")])
    }

    /// Returns whether no test is to start after one has failed.
    #[must_use]
    pub fn fail_fast(&self) -> bool {
        self.limits.fail_fast
    }

    /// Returns the time limit of each test.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.limits.timeout
    }

    /// Returns how many tests may run at a time.
    #[must_use]
    pub fn test_threads(&self) -> Option<NonZeroUsize> {
        self.limits.test_threads
    }
}

/// Parses a time limit. A number without a unit is seconds.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = format!("{text}s");
    parse_duration(if is_number { &seconds } else { text })
        .ok_or("expected a whole number above 0, of seconds or with the unit `ms`, `s`, `m` or `h`")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn options(arguments: &[&str]) -> Result<TestOptions, clap::Error> {
        let command = TestOptions::augment_args(clap::Command::new("test"));
        let arguments = ["test"].iter().chain(arguments);
        TestOptions::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn options_make_a_selection() {
        let arguments = [
            "net",
            "disk",
            "--skip",
            "slow",
            "--exact",
            "-E",
            "kind(lib)",
            "-E",
            "all()",
            "--include-ignored",
            "--partition",
            "hash:2/3",
        ];
        let expected = TestSelection {
            names: vec!["net".into(), "disk".into()],
            skip: vec!["slow".into()],
            exact: true,
            filters: vec!["kind(lib)".parse().unwrap(), "all()".parse().unwrap()],
            ignored: RunIgnored::Also,
            partition: Some("hash:2/3".parse().unwrap()),
        };
        assert_eq!(options(&arguments).unwrap().selection(), expected);
        let only = options(&["--ignored"]).unwrap().selection();
        assert_eq!(only.ignored, RunIgnored::Only);
        assert_eq!(options(&[]).unwrap().selection(), TestSelection::default());
    }

    #[test]
    fn the_last_of_opposite_options_counts() {
        let fail_fast = |arguments: &[&str]| options(arguments).unwrap().fail_fast();
        assert!(!fail_fast(&[]));
        assert!(fail_fast(&["--no-fail-fast", "--fail-fast"]));
        assert!(!fail_fast(&["--fail-fast", "--no-fail-fast"]));
    }

    #[test]
    fn a_time_limit_without_a_unit_is_seconds() {
        let limit = |text| options(&["--timeout", text]).ok().and_then(|o| o.timeout());
        assert_eq!(limit("90"), Some(Duration::from_secs(90)));
        assert_eq!(limit("2m"), Some(Duration::from_secs(120)));
        for malformed in ["0", "", "1.5", "soon", "-1"] {
            assert_eq!(limit(malformed), None, "{malformed}");
        }
        let threads = options(&["--test-threads", "3"]).unwrap().test_threads();
        assert_eq!(threads, NonZeroUsize::new(3));
        assert!(options(&["--test-threads", "0"]).is_err());
    }
}
