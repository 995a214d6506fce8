//! libtest's command line. An option of libtest that has no effect here is accepted with a note; its
//! JUnit output alone is not: nextest and the runner write it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use super::shuffle;
use crate::registry::Test;

pub(super) const HELP: &str = "\
Usage: [OPTIONS] [FILTERS...]

Runs the tests whose names contain a filter, each in a process of its own.
A test whose constraints are unmet is shown as ignored, with its reasons.

Options:
    --include-ignored       Run ignored and not ignored tests
    --ignored               Run only ignored tests
    --exact                 Filters match full names
    --skip FILTER           Exclude tests that match FILTER
    --list                  List tests instead of running them
    --verdicts              List them with their verdicts and facts, as JSON lines
    --test-threads N        Tests at a time (or RUST_TEST_THREADS)
    --no-capture            Do not capture output (or RUST_TEST_NOCAPTURE)
    --show-output           Show the output of passed tests too
    --format pretty|terse|json
                            Form of the output
    -q, --quiet             The same as --format terse
    --color auto|always|never
    --report-time           Show how long each test took
    --retries N             Run a test that fails up to N more times; one that then passes is
                            flaky (or KATA_TEST_RETRIES; replaces the `retries` of tests)
    --repeat N              Run each test up to N times, until it fails (or KATA_TEST_REPEAT)
    --shuffle               Run tests in another order (or RUST_TEST_SHUFFLE)
    --shuffle-seed SEED     ... in this one (or RUST_TEST_SHUFFLE_SEED)
    --in-process            Run tests in this process, one after the other, without capture,
                            timeouts or another user: for debuggers
    --fail-fast             Start no test after the first failure
    --exclude-should-panic  Exclude tests that should panic
    --logfile PATH          Write the outcome of each test to PATH
    --test                  Run tests (they are all there is)
    --bench                 Run benchmarks (there are none)
    -h, --help              Show this

Environment:
    KATA_TEST_GRACE=2s      Time between SIGTERM and SIGKILL for a test that times out or is
                            interrupted
    KATA_TEST_SLOW_AFTER=60s
                            Announce a test that still runs, or waits, after this time
    KATA_TEST_ALLOW_THREADS=1
                            Run tests although this process has threads before the first fork
";

/// The number of retries of each test, from a runner.
pub const RETRIES: &str = "KATA_TEST_RETRIES";
/// How often each test runs, from a runner.
pub const REPEAT: &str = "KATA_TEST_REPEAT";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Bench,
    Tests(Options),
}

/// How to run or list tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) filters: Vec<String>,
    pub(super) skip: Vec<String>,
    pub(super) exact: bool,
    pub(super) which: Which,
    pub(super) list: bool,
    /// Whether a runner reads the list.
    pub(super) verdicts: bool,
    pub(super) format: Format,
    pub(super) capture: bool,
    pub(super) show_output: bool,
    pub(super) threads: NonZeroUsize,
    pub(super) color: Color,
    pub(super) report_time: bool,
    pub(super) fail_fast: bool,
    pub(super) exclude_should_panic: bool,
    pub(super) logfile: Option<PathBuf>,
    /// The order to run tests in, if not by name.
    pub(super) shuffle: Option<u64>,
    /// How often a test that fails runs again, if that is stated for all tests.
    pub(super) retries: Option<u32>,
    /// How often each test runs.
    pub(super) repeat: NonZeroU32,
    pub(super) in_process: bool,
    /// Notes on options that have no effect.
    pub(super) notes: Vec<String>,
}

impl Options {
    /// How often a test is to run at most, its first attempt included.
    pub(super) fn attempts(&self, test: &Test) -> u32 {
        let repeat = self.repeat.get();
        let retries = self.retries.or(test.retries).unwrap_or_default();
        if repeat > 1 {
            repeat
        } else {
            retries.saturating_add(1)
        }
    }
}

/// Which tests, by their `#[ignore]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    NotIgnored,
    OnlyIgnored,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pretty,
    Terse,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

/// The defaults of options.
pub(super) struct Environment {
    pub(super) threads: Option<String>,
    pub(super) no_capture: bool,
    pub(super) shuffle: bool,
    pub(super) shuffle_seed: Option<String>,
    pub(super) retries: Option<String>,
    pub(super) repeat: Option<String>,
    pub(super) cpus: NonZeroUsize,
}

impl Environment {
    pub(super) fn here() -> Self {
        Self::read(|variable| std::env::var(variable).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // As in libtest, 0 is off.
        let is_on = |name| variable(name).is_some_and(|value| value != "0");
        Self {
            threads: variable("RUST_TEST_THREADS"),
            no_capture: is_on("RUST_TEST_NOCAPTURE"),
            shuffle: is_on("RUST_TEST_SHUFFLE"),
            shuffle_seed: variable("RUST_TEST_SHUFFLE_SEED"),
            retries: variable(RETRIES),
            repeat: variable(REPEAT),
            cpus: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

pub(super) fn parse(
    args: impl Iterator<Item = String>,
    environment: Environment,
) -> Result<Command, String> {
    let mut parsed = Parsed::new(environment)?;
    let mut args = args;
    while let Some(arg) = args.next() {
        if arg == "--" {
            parsed.options.filters.extend(args.by_ref());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            parsed.long(name, value, &mut args)?;
        } else if let Some(short) = arg.strip_prefix('-').filter(|short| !short.is_empty()) {
            parsed.short(short, &mut args)?;
        } else {
            parsed.options.filters.push(arg);
        }
    }
    parsed.finish()
}

struct Parsed {
    options: Options,
    help: bool,
    test: bool,
    bench: bool,
    ignored: bool,
    include_ignored: bool,
}

impl Parsed {
    fn new(environment: Environment) -> Result<Self, String> {
        let threads = match environment.threads {
            Some(threads) => number("RUST_TEST_THREADS", &threads)?,
            None => environment.cpus,
        };
        let seed = environment.shuffle_seed;
        let seed = seed.map(|seed| whole("RUST_TEST_SHUFFLE_SEED", &seed));
        let options = Options {
            filters: Vec::new(),
            skip: Vec::new(),
            exact: false,
            which: Which::NotIgnored,
            list: false,
            verdicts: false,
            format: Format::Pretty,
            capture: !environment.no_capture,
            show_output: false,
            threads,
            color: Color::Auto,
            report_time: false,
            fail_fast: false,
            exclude_should_panic: false,
            logfile: None,
            shuffle: seed
                .transpose()?
                .or_else(|| environment.shuffle.then(shuffle::seed)),
            retries: environment
                .retries
                .map(|count| whole(RETRIES, &count))
                .transpose()?,
            repeat: environment
                .repeat
                .map_or(Ok(NonZeroU32::MIN), |count| number(REPEAT, &count))?,
            in_process: false,
            notes: Vec::new(),
        };
        Ok(Self {
            options,
            help: false,
            test: false,
            bench: false,
            ignored: false,
            include_ignored: false,
        })
    }

    fn short(
        &mut self,
        letters: &str,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        for (index, letter) in letters.char_indices() {
            match letter {
                'h' => self.help = true,
                'q' => self.options.format = Format::Terse,
                // The value is what follows the letter, or the next argument.
                'Z' => {
                    let value = &letters[index + 1..];
                    if value.is_empty() && rest.next().is_none() {
                        return Err("argument to option 'Z' missing".to_owned());
                    }
                    return Ok(());
                }
                other => return Err(format!("unrecognized option: '{other}'")),
            }
        }
        Ok(())
    }

    fn long(
        &mut self,
        name: &str,
        mut value: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let has_value = value.is_some();
        let mut value = || {
            let value = value.take().or_else(|| rest.next());
            value.ok_or_else(|| format!("argument to option '{name}' missing"))
        };
        let options = &mut self.options;
        match name {
            "skip" => options.skip.push(value()?),
            "logfile" => options.logfile = Some(value()?.into()),
            "retries" => options.retries = Some(whole("--retries", &value()?)?),
            "repeat" => options.repeat = number("--repeat", &value()?)?,
            "test-threads" => options.threads = number("--test-threads", &value()?)?,
            "shuffle-seed" => options.shuffle = Some(whole("--shuffle-seed", &value()?)?),
            "color" => {
                options.color = match value()?.as_str() {
                    "auto" => Color::Auto,
                    "always" => Color::Always,
                    "never" => Color::Never,
                    other => return Err(expected("--color", "auto, always or never", other)),
                }
            }
            "format" => {
                options.format = match value()?.as_str() {
                    "pretty" => Format::Pretty,
                    "terse" => Format::Terse,
                    "json" => Format::Json,
                    other => return Err(expected("--format", "pretty, terse or json", other)),
                }
            }
            _ if has_value => return Err(format!("option '{name}' does not take an argument")),
            "help" => self.help = true,
            "test" => self.test = true,
            "bench" => self.bench = true,
            "ignored" => self.ignored = true,
            "include-ignored" => self.include_ignored = true,
            "exact" => options.exact = true,
            "list" => options.list = true,
            "verdicts" => {
                options.list = true;
                options.verdicts = true;
            }
            "quiet" => options.format = Format::Terse,
            "nocapture" | "no-capture" => options.capture = false,
            "show-output" => options.show_output = true,
            "report-time" => options.report_time = true,
            "fail-fast" => options.fail_fast = true,
            "exclude-should-panic" => options.exclude_should_panic = true,
            "in-process" | "force-run-in-process" => options.in_process = true,
            "shuffle" => {
                options.shuffle.get_or_insert_with(shuffle::seed);
            }
            "ensure-time" => {
                let note = "--ensure-time has no effect here: give tests a `timeout`";
                options.notes.push(note.to_owned());
            }
            _ => return Err(format!("unrecognized option: '{name}'")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Command, String> {
        let mut options = self.options;
        options.which = match (self.ignored, self.include_ignored) {
            (true, true) => {
                return Err(
                    "the options --include-ignored and --ignored are mutually exclusive".to_owned(),
                );
            }
            (true, false) => Which::OnlyIgnored,
            (false, true) => Which::All,
            (false, false) => Which::NotIgnored,
        };
        if self.help {
            return Ok(Command::Help);
        }
        // `--bench --list` lists benchmarks, of which there are none.
        if self.bench && !self.test {
            return Ok(Command::Bench);
        }
        if options.repeat > NonZeroU32::MIN && options.retries.is_some_and(|count| count > 0) {
            return Err("the options --repeat and --retries are mutually exclusive".to_owned());
        }
        Ok(Command::Tests(options))
    }
}

fn number<T: FromStr>(what: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| expected(what, "a number greater than 0", value))
}

fn whole<T: FromStr>(what: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| expected(what, "a whole number", value))
}

fn expected(what: &str, wanted: &str, value: &str) -> String {
    format!("argument for {what} must be {wanted} (was {value})")
}

#[cfg(test)]
mod tests;
