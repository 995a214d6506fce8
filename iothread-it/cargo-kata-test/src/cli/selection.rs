//! Options that select tests and limit how they run.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kata_test_runner::{
    Attempts, Filter, KernelWarnings, Outcome, Partition, Record, Run, RunIgnored, TestSelection,
    parse_duration, plural,
};

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

    /// Also selects the tests that the `default-filter` of the configuration leaves out.
    #[arg(long)]
    ignore_default_filter: bool,

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

    /// Ends a test that runs for longer, and reports it as timed out: `60` (seconds), `500ms`, `5m`. Default: the limit
    /// that the test states, and 10 minutes for plain tests.
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    timeout: Option<Duration>,

    /// Runs at most this many tests at a time.
    #[arg(long, value_name = "N")]
    test_threads: Option<NonZeroUsize>,

    /// Runs a test that fails up to N more times. One that then passes is flaky, which fails no run.
    /// Replaces the `retries` of tests and of the configuration.
    #[arg(long, value_name = "N")]
    retries: Option<u32>,

    /// How a flaky test counts: `pass` only names it, `fail` makes it an error.
    #[arg(
        long,
        value_name = "RESULT",
        default_value = "pass",
        hide_possible_values = true
    )]
    flaky_result: FlakyResult,

    /// What happens if the kernel of a VM reports a bug (WARNING, BUG, an oops, a hung task, a report of lockdep, KASAN or
    /// the like) while a test runs: `fail` fails the test, `allow` notes the message.
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "fail",
        hide_possible_values = true
    )]
    kernel_warnings: Warnings,

    /// Saves the guests of the first N tests that fail in VMs, by default 4, for `cargo kata-test shell TEST`.
    /// Each takes 200 to 400 MB in the cache until its run is removed. Tests of kata-test's harness then have a
    /// guest each.
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "4"
    )]
    save_guests: Option<NonZeroUsize>,

    /// Runs each test up to N times, and stops at its first failure.
    #[arg(long, value_name = "N", conflicts_with = "retries")]
    repeat: Option<NonZeroU32>,

    /// Runs tests in a random order, here and in places, and prints its seed.
    #[arg(long)]
    shuffle: bool,

    /// Runs tests in the random order of this seed.
    #[arg(long, value_name = "SEED")]
    shuffle_seed: Option<u64>,
}

/// What a flaky test is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum FlakyResult {
    #[default]
    Pass,
    Fail,
}

/// What to do about warnings of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Warnings {
    #[default]
    Fail,
    Allow,
}

impl TestOptions {
    /// Sets what a run does with tests that fail.
    pub(super) fn set_up(&self, run: &mut Run) {
        run.set_kernel_warnings(match self.limits.kernel_warnings {
            Warnings::Fail => KernelWarnings::Fail,
            Warnings::Allow => KernelWarnings::Allow,
        });
        if let Some(most) = self.limits.save_guests {
            run.save_guests(most.get());
        }
    }

    /// Returns the selection. `default` is the default filter of the configuration.
    #[must_use]
    pub fn selection(&self, default: Option<&Filter>) -> TestSelection {
        let Select {
            skip,
            exact,
            filters,
            ignore_default_filter,
            ignored,
            include_ignored,
            partition,
        } = self.select.clone();
        TestSelection {
            names: self.names.clone(),
            skip,
            exact,
            filters,
            default_filter: default.filter(|_| !ignore_default_filter).cloned(),
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

    /// Returns an error message if there are flaky tests and they are errors.
    pub(super) fn flaky_error(&self, outcomes: &[Record]) -> Option<String> {
        let flaky = outcomes.iter();
        let count = flaky.filter(|one| one.outcome == Outcome::Flaky).count();
        let fails = self.limits.flaky_result == FlakyResult::Fail && count > 0;
        let tests = plural(count, "flaky test");
        fails.then(|| format!("{tests}, and `--flaky-result fail`"))
    }

    /// Returns how often each test runs, and in which order.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        let Limits {
            retries,
            repeat,
            shuffle,
            shuffle_seed,
            ..
        } = self.limits;
        Attempts {
            retries,
            repeat: repeat.unwrap_or(NonZeroU32::MIN),
            shuffle: shuffle_seed.or_else(|| shuffle.then(shuffle_seed_of_now)),
        }
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

/// Says that the default filter of the configuration leaves tests out, if it was applied.
pub(super) fn default_filter_note(selection: &TestSelection) -> Option<String> {
    let filter = selection.default_filter.as_ref()?;
    Some(format!(
        "the default filter leaves out the tests that do not match `{filter}`; `--ignore-default-filter` selects them"
    ))
}

/// The seed of an order that is not stated.
fn shuffle_seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() ^ u64::from(now.subsec_nanos()))
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
            default_filter: None,
            ignored: RunIgnored::Also,
            partition: Some("hash:2/3".parse().unwrap()),
        };
        let selection =
            |arguments: &[&str], default| options(arguments).unwrap().selection(default);
        assert_eq!(selection(&arguments, None), expected);
        let only = selection(&["--ignored"], None);
        assert_eq!(only.ignored, RunIgnored::Only);
        assert_eq!(selection(&[], None), TestSelection::default());
        let default: Filter = "not test(soak)".parse().unwrap();
        let by_default = selection(&["net"], Some(&default)).default_filter;
        assert_eq!(by_default.as_ref(), Some(&default));
        let ignored = selection(&["net", "--ignore-default-filter"], Some(&default));
        assert_eq!(ignored.default_filter, None);
    }

    #[test]
    fn attempts_are_those_that_are_asked_for() {
        let attempts = |arguments: &[&str]| options(arguments).unwrap().attempts();
        assert_eq!(attempts(&[]), Attempts::default());
        assert_eq!(attempts(&["--retries", "2"]).most(Some(5)), 3);
        assert_eq!(attempts(&["--repeat", "4"]).most(Some(5)), 4);
        assert_eq!(attempts(&[]).most(Some(5)), 6);
        assert_eq!(attempts(&["--shuffle-seed", "7"]).shuffle, Some(7));
        assert_eq!(
            attempts(&["--shuffle", "--shuffle-seed=7"]).shuffle,
            Some(7)
        );
        assert!(attempts(&["--shuffle"]).shuffle.is_some());
        assert!(options(&["--retries=1", "--repeat=2"]).is_err());
        assert!(options(&["--repeat=0"]).is_err());
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
