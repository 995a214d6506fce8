//! Prints, counts and records the outcome of each test.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::harness::FAILURE;
use crate::harness::child::{Child, Exit};
use crate::harness::interrupt::Interrupt;
use crate::harness::plan::{Decided, Decision, Plan};
use crate::harness::print::{Line, Printer, word};
use crate::harness::stop::Cause;
use crate::harness::summary::Summary;
use crate::harness::test_end::TestEnd;
use crate::harness::user::User;
use crate::measure::Measures;
use crate::reason::{Reason, explain};
use crate::record::{Lines, Outcome, Phase, RecordLine};
use crate::registry::{ShouldPanic, Test};

/// The report of a run, while it is written.
pub(in crate::harness) struct Report<'a> {
    plan: &'a Plan,
    binary: String,
    printer: Printer,
    summary: Summary,
    log: Option<File>,
    records: Lines,
    started: Instant,
    /// Unmet constraints of running tests (`KATA_TEST_UNSKIP`).
    unmet: Vec<(&'static str, Vec<Reason>)>,
}

/// The outcome of one test, with all that is printed and recorded.
struct TestResult<'a> {
    outcome: Outcome,
    detail: Option<&'a str>,
    signal: Option<&'static str>,
    as_uid: Option<u32>,
    reasons: &'a [Reason],
    /// The reason of its `#[ignore]`.
    ignored: Option<&'a str>,
    took: Option<Duration>,
    output: Vec<u8>,
    measures: &'a Measures,
}

impl TestResult<'_> {
    fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: None,
            signal: None,
            as_uid: None,
            reasons: &[],
            ignored: None,
            took: None,
            output: Vec::new(),
            measures: const { &Measures::new() },
        }
    }
}

/// What the end of a test means.
pub(super) struct Conclusion {
    pub(super) outcome: Outcome,
    /// For the line of the test: `SIGSEGV`.
    pub(super) detail: Option<String>,
    /// What its output does not say.
    pub(super) note: Option<String>,
    pub(super) reasons: Vec<Reason>,
}

impl Conclusion {
    pub(super) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: None,
            note: None,
            reasons: Vec::new(),
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
            started: Instant::now(),
            unmet: Vec::new(),
        })
    }

    pub(in crate::harness) fn head(&mut self, count: usize) {
        self.printer.head(count, self.plan.options.shuffle);
    }

    pub(in crate::harness) fn has_failures(&self) -> bool {
        self.summary.has_failures()
    }

    /// Records a test that starts as lost, in case this process dies.
    pub(in crate::harness) fn began(&mut self, next: &Decided) {
        let mut result = TestResult::new(Outcome::Lost);
        result.as_uid = next.user.map(User::uid);
        self.record(next.test, &result);
        self.flush();
        if let Decision::Run(unmet) = &next.decision {
            if !unmet.is_empty() {
                self.unmet.push((next.test.name(), unmet.clone()));
            }
        }
        self.printer.started(next.test.name());
    }

    pub(in crate::harness) fn slow(&mut self, test: &Test, after: Duration) {
        self.printer.slow(test.name(), after);
    }

    /// Reports a test that does not run.
    pub(in crate::harness) fn not_run(&mut self, next: &Decided) {
        let test = next.test;
        self.printer.started(test.name());
        let text;
        let mut result = TestResult::new(Outcome::Ignored);
        result.as_uid = next.user.map(User::uid);
        match &next.decision {
            Decision::Run(_) => unreachable!("a test that runs is reported when it has ended"),
            Decision::Ignore(reason) => {
                result.detail = Some(reason);
                result.ignored = Some(reason).filter(|reason| !reason.is_empty()).copied();
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
                result.outcome = Outcome::Skipped;
                result.detail = Some(&text);
                result.reasons = reasons;
            }
            Decision::Fail {
                outcome,
                reasons,
                why,
            } => {
                result.outcome = *outcome;
                let is_undetermined = *outcome == Outcome::Undetermined;
                result.detail = is_undetermined.then_some("undetermined");
                result.reasons = reasons;
                result.output = why.clone().into_bytes();
            }
        }
        self.finish_test(test, result);
    }

    /// Reports a test that could not be started.
    pub(in crate::harness) fn not_started(&mut self, next: &Decided, problem: &str) {
        let mut result = TestResult::new(Outcome::Failed);
        result.output = format!("cannot start this test: {problem}\n").into_bytes();
        self.finish_test(next.test, result);
    }

    /// Reports a test whose process has ended, with its leaks.
    pub(in crate::harness) fn ended(&mut self, child: Child, leaks: Vec<Reason>) {
        let (test, as_uid) = (child.test, child.as_uid());
        self.conclude(test, as_uid, child.finish(), &leaks);
    }

    /// Reports a test that has run, in a child or in this process.
    pub(in crate::harness) fn conclude(
        &mut self,
        test: &'static Test,
        as_uid: Option<u32>,
        exit: Exit,
        leaks: &[Reason],
    ) {
        let Exit {
            end,
            after,
            took,
            mut output,
            measures,
            waived,
        } = exit;
        let index = self.unmet.iter().position(|(name, _)| *name == test.name());
        let mut unmet = index.map_or_else(Vec::new, |index| self.unmet.swap_remove(index).1);
        unmet.extend(waived);
        let interrupted = matches!(end, TestEnd::Stopped(Cause::Interrupt(_), _));
        let signal = match end {
            TestEnd::Signal(signal) => Some(signal.as_str()),
            _ => None,
        };
        let mut conclusion = match end {
            end if !unmet.is_empty() && !interrupted => self.conclude_unmet(test, &end, unmet),
            TestEnd::Skipped(skip) => self.conclude_skip(test, skip),
            end => conclude(end, after, test),
        };
        if let Some(note) = conclusion.note {
            add_note(&mut output, &note);
        }
        self.summary.leaks(test.name(), leaks);
        conclusion.reasons.extend_from_slice(leaks);
        let result = TestResult {
            outcome: conclusion.outcome,
            detail: conclusion.detail.as_deref(),
            signal,
            as_uid,
            reasons: &conclusion.reasons,
            ignored: None,
            took: Some(took),
            output,
            measures: &measures,
        };
        self.finish_test(test, result);
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    pub(super) fn stale(&mut self, test: &Test, unmet: &[Reason]) {
        self.summary.stale(test.name(), unmet);
    }

    pub(in crate::harness) fn unattributed_leaks(&mut self, leaks: &[String]) {
        self.summary.unattributed_leaks(leaks);
    }

    fn finish_test(&mut self, test: &'static Test, result: TestResult<'_>) {
        // A lost test has been recorded when it started.
        if result.outcome != Outcome::Lost {
            self.record(test, &result);
        }
        self.print(test, &result);
        match result.outcome {
            Outcome::Passed => self.summary.passed(test.name(), result.output),
            Outcome::Ignored => self.summary.ignored(),
            Outcome::Skipped => self.summary.skipped(result.reasons),
            _ => self.summary.failed(test.name(), result.output),
        }
    }

    fn print(&mut self, test: &Test, result: &TestResult<'_>) {
        if let Some(log) = &mut self.log {
            let mut line = String::new();
            let _ = writeln!(line, "{} {}", word(result.outcome), test.name());
            let _ = log.write_all(line.as_bytes());
        }
        self.printer.line(&Line {
            name: test.name(),
            should_panic: test.should_panic != ShouldPanic::No,
            outcome: result.outcome,
            detail: result.detail.unwrap_or_default(),
            took: result.took,
            as_uid: result.as_uid,
            output: &result.output,
        });
    }

    /// Writes the records so far. Call it before anything that may take long.
    pub(in crate::harness) fn flush(&mut self) {
        self.records.flush();
    }

    fn record(&mut self, test: &Test, result: &TestResult<'_>) {
        self.records.add(&RecordLine {
            binary: &self.binary,
            test: test.name(),
            phase: Phase::Run,
            outcome: result.outcome,
            reasons: result.reasons,
            issue: test.issue,
            reason: result.ignored.or(test.reason),
            signal: result.signal,
            as_uid: result.as_uid,
            duration_ms: result.took.unwrap_or_default().as_secs_f64() * 1000.0,
            measures: result.measures,
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

/// Concludes a test that ran as it should and was not skipped.
fn conclude(end: TestEnd, after: &str, test: &Test) -> Conclusion {
    let (outcome, detail, note) = match end {
        TestEnd::Passed => (Outcome::Passed, None, None),
        // The output has the reason.
        TestEnd::Failed(_) | TestEnd::Skipped(_) => (Outcome::Failed, None, None),
        TestEnd::Signal(signal) => {
            let name = signal.as_str();
            let note = format!("the test's process died of {name}{after}");
            (Outcome::Failed, Some(name.to_owned()), Some(note))
        }
        TestEnd::Exited(code) => {
            let when = match after {
                "" => " before the test had ended",
                after => after,
            };
            let note = format!("the test's process exited with code {code}{when}");
            (Outcome::Failed, None, Some(note))
        }
        TestEnd::Stopped(cause, fate) => {
            let (outcome, cause) = match cause {
                Cause::Timeout => {
                    let limit = test.time_limit().unwrap_or_default();
                    (Outcome::TimedOut, format!("timed out after {limit:?}"))
                }
                Cause::Interrupt(interrupt) => (
                    Outcome::Lost,
                    format!("interrupted by {}", interrupt.name()),
                ),
            };
            let note = format!("{cause}; {fate}");
            (outcome, Some(cause), Some(note))
        }
    };
    Conclusion {
        detail,
        note,
        ..Conclusion::new(outcome)
    }
}

fn add_note(output: &mut Vec<u8>, note: &str) {
    if !output.is_empty() && !output.ends_with(b"\n") {
        output.push(b'\n');
    }
    output.extend_from_slice(format!("note: {note}\n").as_bytes());
}
