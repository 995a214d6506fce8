//! What is printed while tests run: for a person, or in libtest's forms for programs.

mod json;
mod junit;
mod text;

use std::time::Duration;

use super::cli::{Format, Options};
use crate::sys::stdout;
pub(super) use json::list as list_json;
pub(super) use text::Paint;

/// What is said about one test when it has ended.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) should_panic: bool,
    pub(super) result: &'a Result,
    /// How long it ran; nothing if it did not.
    pub(super) took: Option<Duration>,
    /// The user it ran as, if it was given one.
    pub(super) as_uid: Option<u32>,
    pub(super) output: &'a [u8],
}

pub(super) enum Result {
    Ok,
    /// It passed, though this is unmet.
    Stale(String),
    /// With what is worth saying in the line itself: `SIGSEGV`.
    Failed(Option<String>),
    /// With the reason, which may be empty.
    Ignored(String),
}

impl Result {
    pub(super) fn log_word(&self) -> &'static str {
        match self {
            Self::Ok | Self::Stale(_) => "ok",
            Self::Failed(_) => "failed",
            Self::Ignored(_) => "ignored",
        }
    }
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) ok: bool,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
    pub(super) filtered_out: usize,
    pub(super) took: Duration,
}

/// Prints to standard output and remembers whether that worked.
pub(super) struct Printer {
    form: Form,
    colored: bool,
    report_time: bool,
    printed: bool,
}

enum Form {
    Pretty,
    /// With the number of dots printed so far.
    Terse(usize),
    Json,
    /// With the test cases so far: the file's head holds their counts.
    Junit(String),
}

impl Printer {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            form: match options.format {
                Format::Pretty => Form::Pretty,
                Format::Terse => Form::Terse(0),
                Format::Json => Form::Json,
                Format::Junit => Form::Junit(String::new()),
            },
            colored: options.colored(),
            report_time: options.report_time,
            printed: true,
        }
    }

    pub(super) fn head(&mut self, count: usize, seed: Option<u64>) {
        match self.form {
            Form::Pretty | Form::Terse(_) => self.put(&text::head(count, seed)),
            Form::Json => self.put(&json::head(count, seed)),
            Form::Junit(_) => {}
        }
    }

    pub(super) fn started(&mut self, name: &str) {
        if matches!(self.form, Form::Json) {
            self.put(&json::started(name));
        }
    }

    /// Says that a test runs for long.
    pub(super) fn slow(&mut self, name: &str, after: Duration) {
        match self.form {
            Form::Pretty | Form::Terse(_) => {
                let seconds = after.as_secs_f64();
                self.put(&format!(
                    "test {name} has been running for over {seconds} seconds\n"
                ));
            }
            Form::Json => self.put(&json::slow(name)),
            Form::Junit(_) => {}
        }
    }

    pub(super) fn line(&mut self, line: &Line<'_>) {
        let text = match &mut self.form {
            Form::Pretty => text::pretty(line, self.colored, self.report_time),
            Form::Terse(column) => text::terse(line.result, self.colored, column),
            Form::Json => json::line(line, self.report_time),
            Form::Junit(cases) => {
                cases.push_str(&junit::case(line));
                return;
            }
        };
        self.put(&text);
    }

    /// Prints what comes after the last test; says whether all could be printed. A person gets
    /// `text`, a program the totals.
    pub(super) fn end(&mut self, text: &[u8], totals: &Totals) -> bool {
        match &self.form {
            Form::Pretty => self.printed &= stdout(text),
            Form::Terse(column) => {
                if !text::ends_line(*column) {
                    self.put("\n");
                }
                self.printed &= stdout(text);
            }
            Form::Json => self.put(&json::end(totals)),
            Form::Junit(cases) => {
                let file = junit::file(cases, totals);
                self.put(&file);
            }
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

/// What a probe observed can hold anything; a line of output holds no line break.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
