//! The summary of a run: failures, unmet requirements, leaks, totals.

use std::fmt::Write;
use std::time::Duration;

use super::cli::Options;
use super::interrupt::Interrupt;
use super::print::{Paint, Printer, Totals};
use super::unmet_counts::UnmetCounts;
use crate::names::in_order;
use crate::reason::Reason;
use crate::record::Outcome;

/// A test's name and its captured output.
type Output = (&'static str, Vec<u8>);

/// Counts, and the outputs to show.
pub(super) struct Summary {
    passed: Vec<Output>,
    failed: Vec<Output>,
    ignored: usize,
    /// Expected failures, flaky and unstable tests: a line with the cause, and the output of failures.
    noted: Vec<(Outcome, String, Output)>,
    filtered_out: usize,
    unmet: UnmetCounts,
    /// A line for each test that passed although constraints are unmet.
    stale: Vec<String>,
    /// A line for each leak.
    leaks: Vec<String>,
    /// Whether to keep the output of passed tests.
    keep_passed: bool,
}

impl Summary {
    pub(super) fn new(filtered_out: usize, options: &Options) -> Self {
        Self {
            passed: Vec::new(),
            failed: Vec::new(),
            ignored: 0,
            noted: Vec::new(),
            filtered_out,
            unmet: UnmetCounts::new(),
            stale: Vec::new(),
            leaks: Vec::new(),
            keep_passed: options.show_output,
        }
    }

    pub(super) fn passed(&mut self, name: &'static str, output: Vec<u8>) {
        let output = if self.keep_passed { output } else { Vec::new() };
        self.passed.push((name, output));
    }

    pub(super) fn stale(&mut self, name: &str, unmet: &[Reason]) {
        let constraints: Vec<&str> = unmet.iter().map(|reason| &*reason.constraint).collect();
        self.stale
            .push(format!("{name}: {}", constraints.join(", ")));
    }

    pub(super) fn failed(&mut self, name: &'static str, output: Vec<u8>) {
        self.failed.push((name, output));
    }

    pub(super) fn ignored(&mut self) {
        self.ignored += 1;
    }

    /// Counts a test whose end fails no run, but is no pass either.
    pub(super) fn noted(
        &mut self,
        kind: Outcome,
        name: &'static str,
        why: Option<&str>,
        output: Vec<u8>,
    ) {
        let is_shown = kind != Outcome::ExpectedFailure || self.keep_passed;
        let output = if is_shown { output } else { Vec::new() };
        let why = why.filter(|why| !why.is_empty());
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        let line = format!("{name}{why}");
        self.noted.push((kind, line, (name, output)));
    }

    fn of_kind(&self, kind: Outcome) -> Vec<String> {
        let of_kind = self.noted.iter().filter(|(other, ..)| *other == kind);
        of_kind.map(|(_, line, _)| line.clone()).collect()
    }

    pub(super) fn skipped(&mut self, reasons: &[Reason]) {
        self.ignored += 1;
        self.unmet.count(reasons);
    }

    pub(super) fn leaks(&mut self, name: &str, leaks: &[Reason]) {
        let line = |leak: &Reason| format!("{name}: {}", leak.observed);
        self.leaks.extend(leaks.iter().map(line));
    }

    /// Adds leaks of which the test is not certain.
    pub(super) fn unattributed_leaks(&mut self, leaks: &[String]) {
        self.leaks.extend_from_slice(leaks);
    }

    pub(super) fn totals(&self, interrupted: bool, took: Duration) -> Totals {
        Totals {
            ok: !self.has_failures() && !interrupted,
            passed: self.passed.len(),
            failed: self.failed.len(),
            ignored: self.ignored,
            expected_failures: self.of_kind(Outcome::ExpectedFailure).len(),
            flaky: self.of_kind(Outcome::Flaky).len(),
            unstable: self.of_kind(Outcome::Unstable).len(),
            filtered_out: self.filtered_out,
            took,
        }
    }

    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The text after the last test's line.
    pub(super) fn text(
        &self,
        options: &Options,
        printer: &Printer,
        not_started: usize,
        interrupt: Option<Interrupt>,
        totals: &Totals,
    ) -> Vec<u8> {
        let mut text = Vec::new();
        if options.show_output {
            section(&mut text, "successes", &self.passed);
        }
        if self.has_failures() {
            section(&mut text, "failures", &self.failed);
        }
        let noted: Vec<&Output> = self.noted.iter().map(|(.., output)| output).collect();
        outputs(&mut text, &noted);
        let mut end = String::from("\n");
        if let Some(interrupt) = interrupt {
            let _ = writeln!(
                end,
                "interrupted by {}: {not_started} not started\n",
                interrupt.name()
            );
        }
        for (kind, title) in [
            (Outcome::ExpectedFailure, "expected failures"),
            (
                Outcome::Flaky,
                "flaky (these tests passed at a later attempt)",
            ),
            (
                Outcome::Unstable,
                "unstable (these failures do not fail the run)",
            ),
        ] {
            let of_kind = self.of_kind(kind);
            if !of_kind.is_empty() {
                let _ = writeln!(end, "{title}:\n    {}\n", lines(&of_kind));
            }
        }
        if let Some(unmet) = self.unmet.line() {
            let _ = writeln!(end, "unmet requirements: {unmet}\n");
        }
        if !self.stale.is_empty() {
            let _ = writeln!(
                end,
                "stale constraints (these tests passed although they are unmet):\n    {}\n",
                lines(&self.stale)
            );
        }
        if !self.leaks.is_empty() {
            let _ = writeln!(end, "left behind:\n    {}\n", lines(&self.leaks));
        }
        let (word, paint) = if totals.ok {
            ("ok", Paint::Green)
        } else {
            ("FAILED", Paint::Red)
        };
        let counted = [
            (totals.expected_failures, "failed as expected"),
            (totals.flaky, "flaky"),
            (totals.unstable, "unstable"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let noted: String = counted
            .map(|(count, what)| format!("; {count} {what}"))
            .collect();
        let _ = writeln!(
            end,
            "test result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out{noted}; \
             finished in {:.2}s\n",
            printer.paint(word, paint),
            totals.passed,
            totals.failed,
            totals.ignored,
            totals.filtered_out,
            totals.took.as_secs_f64(),
        );
        text.extend_from_slice(end.as_bytes());
        text
    }
}

/// Outputs and then names, in the order of the names.
fn section(text: &mut Vec<u8>, title: &str, outputs_of: &[Output]) {
    let all: Vec<&Output> = outputs_of.iter().collect();
    text.extend_from_slice(format!("\n{title}:\n").as_bytes());
    outputs(text, &all);
    text.extend_from_slice(format!("\n\n{title}:\n").as_bytes());
    for (name, _) in in_order(&all, |(name, _)| name) {
        text.extend_from_slice(format!("    {name}\n").as_bytes());
    }
}

/// Outputs that are not empty, in the order of the names.
fn outputs(text: &mut Vec<u8>, of: &[&Output]) {
    for (name, output) in in_order(of, |(name, _)| name)
        .iter()
        .filter(|(_, output)| !output.is_empty())
    {
        text.extend_from_slice(format!("\n---- {name} stdout ----\n").as_bytes());
        text.extend_from_slice(output);
        if !output.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
}

/// Indented lines in order.
fn lines(of: &[String]) -> String {
    let texts: Vec<&str> = of.iter().map(String::as_str).collect();
    in_order(&texts, |text| text).join("\n    ")
}
