//! Prints results while tests run: for a person, or in libtest's forms for programs.

mod json;
mod text;

use std::time::Duration;

use super::cli::{Format, Options};
use crate::record::Outcome;
use crate::sys::stdout;
pub(super) use json::list as list_json;
pub(super) use text::Paint;

/// The line about a test that has ended.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) should_panic: bool,
    pub(super) outcome: Outcome,
    /// The text after the outcome: stale constraints of a test that passed, the cause of a failure
    /// (`SIGSEGV`), the reason of a skip; may be empty.
    pub(super) detail: &'a str,
    /// How long it ran; `None` if it did not.
    pub(super) took: Option<Duration>,
    /// The user it ran as, if not as this process.
    pub(super) as_uid: Option<u32>,
    pub(super) output: &'a [u8],
}

/// libtest's word for an outcome, for programs.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        // A test that should panic is "ok" too.
        Outcome::Passed | Outcome::ExpectedFailure | Outcome::Flaky => "ok",
        Outcome::SuspectedSkip | Outcome::Skipped | Outcome::Ignored | Outcome::Nowhere => {
            "ignored"
        }
        Outcome::Failed
        | Outcome::TimedOut
        | Outcome::Lost
        | Outcome::UnexpectedPass
        | Outcome::Undetermined
        | Outcome::Unstable => "failed",
    }
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) ok: bool,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
    pub(super) expected_failures: usize,
    pub(super) flaky: usize,
    pub(super) unstable: usize,
    pub(super) filtered_out: usize,
    pub(super) took: Duration,
}

/// Prints to standard output and remembers whether that worked.
pub(super) struct Printer {
    format: Format,
    /// The number of dots printed so far, for `Format::Terse`.
    column: usize,
    colored: bool,
    report_time: bool,
    printed: bool,
}

impl Printer {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            format: options.format,
            column: 0,
            colored: options.colored(),
            report_time: options.report_time,
            printed: true,
        }
    }

    pub(super) fn head(&mut self, count: usize, seed: Option<u64>) {
        match self.format {
            Format::Pretty | Format::Terse => self.put(&text::head(count, seed)),
            Format::Json => self.put(&json::head(count, seed)),
        }
    }

    pub(super) fn started(&mut self, name: &str) {
        if self.format == Format::Json {
            self.put(&json::started(name));
        }
    }

    /// Prints that a test is slow.
    pub(super) fn slow(&mut self, name: &str, after: Duration) {
        match self.format {
            Format::Pretty | Format::Terse => {
                let seconds = after.as_secs_f64();
                self.put(&format!(
                    "test {name} has been running for over {seconds} seconds\n"
                ));
            }
            Format::Json => self.put(&json::slow(name)),
        }
    }

    /// Prints that a test has failed and runs again. libtest's JSON has no such event.
    pub(super) fn failed_attempt(&mut self, name: &str, attempt: u32, all: u32) {
        if self.format == Format::Pretty {
            let failed = self.paint("FAILED", Paint::Yellow);
            self.put(&format!(
                "test {name} ... {failed} at attempt {attempt} of {all}, runs again\n"
            ));
        }
    }

    pub(super) fn line(&mut self, line: &Line<'_>) {
        let text = match self.format {
            Format::Pretty => text::pretty(line, self.colored, self.report_time),
            Format::Terse => text::terse(line.outcome, self.colored, &mut self.column),
            Format::Json => json::line(line, self.report_time),
        };
        self.put(&text);
    }

    /// Prints the end, for a person `text` and for a program the totals; returns whether everything
    /// could be printed.
    pub(super) fn end(&mut self, text: &[u8], totals: &Totals) -> bool {
        if self.format == Format::Json {
            self.put(&json::end(totals));
        } else {
            // Dots are printed for the terse form only.
            if !text::ends_line(self.column) {
                self.put("\n");
            }
            self.printed &= stdout(text);
        }
        self.printed
    }

    pub(super) fn paint(&self, text: &str, paint: Paint) -> String {
        text::paint(text, paint, self.colored)
    }

    fn put(&mut self, text: &str) {
        self.printed &= stdout(text.as_bytes());
    }
}

/// Joins the lines of a text: observations of probes can have several.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
