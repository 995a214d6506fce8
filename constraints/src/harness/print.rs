//! Lines in libtest's form.

use super::cli::{Format, Options};
use crate::sys::stdout;

/// How wide a line of dots is.
const TERSE_WIDTH: usize = 88;

/// What is said about one test when it has ended.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) should_panic: bool,
    pub(super) result: Result,
    pub(super) seconds: Option<f64>,
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

#[derive(Clone, Copy)]
pub(super) enum Paint {
    Green,
    Red,
    Yellow,
}

/// Prints to standard output and remembers whether that worked.
pub(super) struct Printer {
    format: Format,
    colored: bool,
    /// Dots printed so far.
    column: usize,
    printed: bool,
}

impl Printer {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            format: options.format,
            colored: options.colored(),
            column: 0,
            printed: true,
        }
    }

    pub(super) fn head(&mut self, count: usize) {
        let plural = if count == 1 { "" } else { "s" };
        self.put(&format!("\nrunning {count} test{plural}\n"));
    }

    pub(super) fn line(&mut self, line: &Line<'_>) {
        match self.format {
            Format::Pretty => self.put(&self.pretty(line)),
            Format::Terse => self.terse(&line.result),
        }
    }

    fn pretty(&self, line: &Line<'_>) -> String {
        let should_panic = if line.should_panic {
            " - should panic"
        } else {
            ""
        };
        let (word, paint, detail) = match &line.result {
            Result::Ok => ("ok", Paint::Green, String::new()),
            Result::Stale(unmet) => {
                let detail = format!(", with a stale constraint: {}", one_line(unmet));
                ("ok", Paint::Green, detail)
            }
            Result::Failed(None) => ("FAILED", Paint::Red, String::new()),
            Result::Failed(Some(how)) => ("FAILED", Paint::Red, format!(" ({how})")),
            Result::Ignored(reason) if reason.is_empty() => {
                ("ignored", Paint::Yellow, String::new())
            }
            Result::Ignored(reason) => {
                ("ignored", Paint::Yellow, format!(", {}", one_line(reason)))
            }
        };
        let word = self.paint(word, paint);
        let seconds = line
            .seconds
            .map(|seconds| format!(" <{seconds:.3}s>"))
            .unwrap_or_default();
        format!(
            "test {}{should_panic} ... {word}{detail}{seconds}\n",
            line.name
        )
    }

    fn terse(&mut self, result: &Result) {
        let dot = match result {
            Result::Ok | Result::Stale(_) => self.paint(".", Paint::Green),
            Result::Failed(_) => self.paint("F", Paint::Red),
            Result::Ignored(_) => self.paint("i", Paint::Yellow),
        };
        self.column += 1;
        let end = if self.column.is_multiple_of(TERSE_WIDTH) {
            "\n"
        } else {
            ""
        };
        self.put(&format!("{dot}{end}"));
    }

    /// Prints what comes after the last test; says whether all could be printed.
    pub(super) fn end(&mut self, text: &[u8]) -> bool {
        if self.format == Format::Terse && !self.column.is_multiple_of(TERSE_WIDTH) {
            self.put("\n");
        }
        self.printed &= stdout(text);
        self.printed
    }

    pub(super) fn paint(&self, text: &str, paint: Paint) -> String {
        if !self.colored {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Green => 32,
            Paint::Red => 31,
            Paint::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
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
