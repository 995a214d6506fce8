//! Prints, counts and records the outcome of each test.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::conclusion::conclude;
use crate::harness::FAILURE;
use crate::harness::child::Exit;
use crate::harness::interrupt::Interrupt;
use crate::harness::plan::{Decided, Decision, Plan};
use crate::harness::print::{Line, Printer, word};
use crate::harness::stop::Cause;
use crate::harness::summary::Summary;
use crate::harness::test_end::TestEnd;
use crate::harness::user::User;
use crate::reason::{Reason, explain};
use crate::record::{ArtifactsFolder, ArtifactsFolders, Lines, Outcome, RecordLine};
use crate::registry::{ShouldPanic, Test};

/// The report of a run, while it is written.
pub(in crate::harness) struct Report<'a> {
    plan: &'a Plan,
    binary: String,
    printer: Printer,
    summary: Summary,
    log: Option<File>,
    records: Lines,
    artifacts: ArtifactsFolders,
    started: Instant,
    /// Unmet constraints of running tests (`KATA_TEST_UNSKIP`).
    unmet: Vec<(&'static str, Vec<Reason>)>,
    /// The output of failed attempts of tests that run again.
    earlier: Vec<(&'static str, Vec<u8>)>,
}

/// The outcome of one test, with all that is printed and recorded.
struct TestResult<'a> {
    /// Without the binary.
    record: RecordLine<'a>,
    detail: Option<&'a str>,
    took: Option<Duration>,
    output: Vec<u8>,
}

impl TestResult<'_> {
    fn new(test: &Test, outcome: Outcome) -> Self {
        Self {
            record: RecordLine {
                issue: test.issue,
                reason: test.reason,
                ..RecordLine::new("", test.name(), outcome)
            },
            detail: None,
            took: None,
            output: Vec::new(),
        }
    }
}

impl<'a> Report<'a> {
    pub(in crate::harness) fn new(plan: &'a Plan, filtered_out: usize) -> Result<Self, String> {
        let create = |path: &Path| {
            File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        let log = plan.options.logfile.as_deref().map(create).transpose()?;
        Ok(Self {
            plan,
            binary: plan.target.binary_id(),
            printer: Printer::new(&plan.options),
            summary: Summary::new(filtered_out, &plan.options),
            log,
            records: Lines::default(),
            artifacts: ArtifactsFolders::default(),
            started: Instant::now(),
            unmet: Vec::new(),
            earlier: Vec::new(),
        })
    }

    pub(in crate::harness) fn head(&mut self, count: usize) {
        self.printer.head(count, self.plan.options.shuffle);
    }

    pub(in crate::harness) fn has_failures(&self) -> bool {
        self.summary.has_failures()
    }

    /// Makes the folder for the files of an attempt.
    pub(in crate::harness) fn artifacts_folder(
        &mut self,
        next: &Decided,
    ) -> Option<ArtifactsFolder> {
        let name = next.test.name();
        self.artifacts.make(&self.binary, name, next.attempt)
    }

    /// Records a test that starts as lost, in case this process dies.
    pub(in crate::harness) fn began(&mut self, next: &Decided) {
        let mut result = TestResult::new(next.test, Outcome::Lost);
        result.record.attempt = next.attempt;
        result.record.as_uid = next.user.map(User::uid);
        self.record(&result);
        self.flush();
        if let Decision::Run(unmet) = &next.decision {
            if !unmet.is_empty() {
                self.unmet.push((next.test.name(), unmet.clone()));
            }
        }
        if next.attempt == 1 {
            self.printer.started(next.test.name());
        }
    }

    pub(in crate::harness) fn slow(&mut self, test: &Test, after: Duration) {
        self.printer.slow(test.name(), after);
    }

    /// Reports a test that does not run.
    pub(in crate::harness) fn not_run(&mut self, next: &Decided) {
        let test = next.test;
        self.printer.started(test.name());
        let text;
        let mut result = TestResult::new(test, Outcome::Ignored);
        result.record.as_uid = next.user.map(User::uid);
        match &next.decision {
            Decision::Run(_) => unreachable!("a test that runs is reported when it has ended"),
            Decision::Ignore(reason) => {
                result.detail = Some(reason);
                if !reason.is_empty() {
                    result.record.reason = Some(reason);
                }
            }
            Decision::Elsewhere(place) => {
                text = format!("runs in {place}");
                result.detail = Some(&text);
                // That place records it.
                self.print(test, &result);
                self.summary.ignored();
                return;
            }
            Decision::Skip(reasons) => {
                text = explain(reasons, test.issue, test.reason);
                result.record.outcome = Outcome::Skipped;
                result.record.reasons = reasons;
                result.detail = Some(&text);
            }
            Decision::Fail {
                outcome,
                reasons,
                why,
            } => {
                result.record.outcome = *outcome;
                result.record.reasons = reasons;
                let is_undetermined = *outcome == Outcome::Undetermined;
                result.detail = is_undetermined.then_some("undetermined");
                result.output = why.clone().into_bytes();
            }
        }
        self.finish_test(test, result);
    }

    /// Reports a test that could not be started.
    pub(in crate::harness) fn not_started(&mut self, next: &Decided, problem: &str) {
        let mut result = TestResult::new(next.test, Outcome::Failed);
        result.record.attempt = next.attempt;
        result.record.as_uid = next.user.map(User::uid);
        result.output = format!("cannot start this test: {problem}\n").into_bytes();
        self.finish_test(next.test, result);
    }

    /// Reports a test that has run, in a child or in this process, with its leaks. Returns whether it is to run
    /// again.
    pub(in crate::harness) fn conclude(
        &mut self,
        next: &Decided,
        exit: Exit,
        leaks: &[Reason],
    ) -> bool {
        let Decided {
            test,
            attempt,
            user,
            ..
        } = *next;
        let Exit {
            end,
            after,
            took,
            mut output,
            measures,
            artifacts,
            expected,
            waived,
            guest_cpus,
        } = exit;
        let index = self.unmet.iter().position(|(name, _)| *name == test.name());
        let mut unmet = index.map_or_else(Vec::new, |index| self.unmet.swap_remove(index).1);
        unmet.extend(waived);
        let interrupted = matches!(end, TestEnd::Stopped(Cause::Interrupt(_), _));
        let signal = match end {
            TestEnd::Signal(signal) => Some(signal.as_str()),
            _ => None,
        };
        let has_unmet = !unmet.is_empty() && end != TestEnd::UnexpectedPass;
        let mut conclusion = match end {
            end if has_unmet && !interrupted => {
                if end == TestEnd::Passed {
                    self.summary.stale(test.name(), &unmet);
                }
                self.plan.conclude_unmet(&end, unmet)
            }
            TestEnd::Skipped(skip) => self.plan.conclude_skip(test, skip),
            end => conclude(end, after, guest_cpus, test, expected),
        };
        if let Some(note) = conclusion.note.take() {
            add_note(&mut output, &note);
        }
        self.summary.leaks(test.name(), leaks);
        conclusion.reasons.extend_from_slice(leaks);
        if let Some(artifacts) = &artifacts {
            artifacts.announce();
        }
        let again = self.plan.runs_again(test, attempt, &mut conclusion);
        let issue = expected.and_then(|expected| expected.issue);
        let result = TestResult {
            record: RecordLine {
                attempt,
                reasons: &conclusion.reasons,
                issue: issue.or(test.issue),
                reason: conclusion.reason.as_deref().or(test.reason),
                signal,
                as_uid: user.map(User::uid),
                duration_ms: took.as_secs_f64() * 1000.0,
                measures: &measures,
                artifacts: artifacts.as_ref(),
                ..RecordLine::new("", test.name(), conclusion.outcome)
            },
            detail: conclusion.detail.as_deref(),
            took: Some(took),
            output,
        };
        match again {
            true => self.finish_attempt(test, result),
            false => self.finish_test(test, result),
        }
        again
    }

    /// Reports an attempt after which the test runs again.
    fn finish_attempt(&mut self, test: &'static Test, result: TestResult<'_>) {
        self.record(&result);
        if result.record.outcome.is_failure() {
            let attempt = result.record.attempt;
            self.printer
                .failed_attempt(test.name(), attempt, self.plan.attempts(test));
            let mut output = format!("--- attempt {attempt} ---\n").into_bytes();
            output.extend_from_slice(&result.output);
            if !output.ends_with(b"\n") {
                output.push(b'\n');
            }
            self.earlier.push((test.name(), output));
        }
    }

    /// Puts the output of failed attempts before that of the last.
    fn with_earlier(&mut self, test: &Test, attempt: u32, last: Vec<u8>) -> Vec<u8> {
        let (of_test, others): (Vec<_>, _) = std::mem::take(&mut self.earlier)
            .into_iter()
            .partition(|(name, _)| *name == test.name());
        self.earlier = others;
        if of_test.is_empty() {
            return last;
        }
        let mut all: Vec<u8> = of_test.into_iter().flat_map(|(_, output)| output).collect();
        all.extend_from_slice(format!("--- attempt {attempt} ---\n").as_bytes());
        all.extend(last);
        all
    }

    pub(in crate::harness) fn unattributed_leaks(&mut self, leaks: &[String]) {
        self.summary.unattributed_leaks(leaks);
    }

    fn finish_test(&mut self, test: &'static Test, mut result: TestResult<'_>) {
        let last = std::mem::take(&mut result.output);
        result.output = self.with_earlier(test, result.record.attempt, last);
        // A lost test has been recorded when it started.
        if result.record.outcome != Outcome::Lost {
            self.record(&result);
        }
        self.print(test, &result);
        match result.record.outcome {
            Outcome::Passed => self.summary.passed(test.name(), result.output),
            Outcome::Ignored => self.summary.ignored(),
            Outcome::Skipped => self.summary.skipped(result.record.reasons),
            kind @ (Outcome::ExpectedFailure | Outcome::Flaky | Outcome::Unstable) => {
                let output = result.output;
                self.summary.noted(kind, test.name(), result.detail, output);
            }
            _ => self.summary.failed(test.name(), result.output),
        }
    }

    fn print(&mut self, test: &Test, result: &TestResult<'_>) {
        if let Some(log) = &mut self.log {
            let line = format!("{} {}\n", word(result.record.outcome), test.name());
            let _ = log.write_all(line.as_bytes());
        }
        self.printer.line(&Line {
            name: test.name(),
            should_panic: test.should_panic != ShouldPanic::No,
            outcome: result.record.outcome,
            detail: result.detail.unwrap_or_default(),
            took: result.took,
            as_uid: result.record.as_uid,
            output: &result.output,
        });
    }

    /// Writes the records so far. Call it before anything that may take long.
    pub(in crate::harness) fn flush(&mut self) {
        self.records.flush();
    }

    fn record(&mut self, result: &TestResult<'_>) {
        self.records.add(&RecordLine {
            binary: &self.binary,
            ..result.record
        });
    }

    pub(in crate::harness) fn finish(
        mut self,
        not_started: usize,
        interrupt: Option<Interrupt>,
    ) -> ExitCode {
        self.flush();
        let totals = self
            .summary
            .totals(interrupt.is_some(), self.started.elapsed());
        let text = self.summary.text(
            &self.plan.options,
            &self.printer,
            not_started,
            interrupt,
            &totals,
        );
        let printed = self.printer.end(&text, &totals);
        match interrupt {
            Some(interrupt) => interrupt.exit_code(),
            None if !totals.ok || !printed => ExitCode::from(FAILURE),
            None => ExitCode::SUCCESS,
        }
    }
}

fn add_note(output: &mut Vec<u8>, note: &str) {
    if !output.is_empty() && !output.ends_with(b"\n") {
        output.push(b'\n');
    }
    output.extend_from_slice(format!("note: {note}\n").as_bytes());
}
