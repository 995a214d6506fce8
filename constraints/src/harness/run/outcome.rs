//! What became of each test: printed, counted and recorded.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::harness::FAILURE;
use crate::harness::child::{Child, Exit, How};
use crate::harness::interrupt::Interrupt;
use crate::harness::plan::{Decided, Decision, Plan};
use crate::harness::print::{Line, Printer, Result as Shown};
use crate::harness::stop::Cause;
use crate::harness::summary::Summary;
use crate::harness::user::User;
use crate::measure::Measures;
use crate::record::{Lines, Outcome, Phase, RecordLine};
use crate::registry::{ShouldPanic, Test};
use crate::verdict::{Reason, explain, join};

/// Everything that is said about a run.
pub(in crate::harness) struct Report<'a> {
    plan: &'a Plan,
    binary: String,
    printer: Printer,
    summary: Summary,
    log: Option<File>,
    records: Lines,
    started: Instant,
    /// What is unmet of the running tests, which are to run all the same.
    unmet: Vec<(&'static str, Vec<Reason>)>,
}

/// What became of one test.
pub(in crate::harness) struct TestResult<'a> {
    pub(in crate::harness) outcome: Outcome,
    pub(in crate::harness) shown: Shown,
    pub(in crate::harness) signal: Option<&'static str>,
    pub(in crate::harness) as_uid: Option<u32>,
    pub(in crate::harness) reasons: &'a [Reason],
    pub(in crate::harness) note: Option<&'a str>,
    pub(in crate::harness) took: Option<Duration>,
    pub(in crate::harness) output: Vec<u8>,
    pub(in crate::harness) measures: &'a Measures,
}

impl<'a> TestResult<'a> {
    pub(in crate::harness) fn new(outcome: Outcome, shown: Shown) -> Self {
        Self {
            outcome,
            shown,
            signal: None,
            as_uid: None,
            reasons: &[],
            note: None,
            took: None,
            output: Vec::new(),
            measures: const { &Measures::new() },
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

    /// If this process dies, the record says what it was at.
    pub(in crate::harness) fn began(&mut self, next: &Decided) {
        let mut outcome = TestResult::new(Outcome::Lost, Shown::Ok);
        outcome.as_uid = next.user.map(User::uid);
        self.record(next.test, &outcome);
        self.flush();
        if !next.unmet.is_empty() {
            self.unmet.push((next.test.name(), next.unmet.clone()));
        }
        self.printer.started(next.test.name());
    }

    pub(in crate::harness) fn slow(&mut self, test: &Test, after: Duration) {
        self.printer.slow(test.name(), after);
    }

    /// A test that is not to run.
    pub(in crate::harness) fn not_run(&mut self, next: &Decided) {
        let reasons = next.decision.reasons();
        let (outcome, shown, why) = match &next.decision {
            Decision::Run => unreachable!("whoever runs a test says how it ended"),
            Decision::Ignored(reason) => {
                (Outcome::Ignored, Shown::Ignored((*reason).to_owned()), None)
            }
            Decision::Left(place) => {
                let shown = Shown::Ignored(format!("runs in {place}"));
                // Its record comes from there.
                self.printer.started(next.test.name());
                self.show(next.test, &TestResult::new(Outcome::Ignored, shown));
                self.summary.ignored();
                return;
            }
            Decision::Skip(reasons) => {
                let why = explain(reasons, next.test.issue, next.test.reason);
                (Outcome::Skipped, Shown::Ignored(why), None)
            }
            Decision::Refuse(reasons, refusal) => (
                Outcome::Failed,
                Shown::Failed(None),
                Some(refusal.text(reasons)),
            ),
            Decision::Forbid(reasons, why) => {
                let why = format!("not run: {}\n{why}\n", join(reasons));
                (Outcome::Failed, Shown::Failed(None), Some(why))
            }
            Decision::Undetermined(reasons) => {
                let why = explain(reasons, next.test.issue, next.test.reason);
                let why = format!("not run, since it is undetermined: {why}\n");
                let shown = Shown::Failed(Some("undetermined".to_owned()));
                (Outcome::Undetermined, shown, Some(why))
            }
        };
        let note = next.decision.note(next.test);
        let mut outcome = TestResult::new(outcome, shown);
        outcome.reasons = reasons;
        outcome.note = note.as_deref();
        outcome.as_uid = next.user.map(User::uid);
        outcome.output = why.unwrap_or_default().into_bytes();
        self.printer.started(next.test.name());
        self.settle(next.test, outcome);
    }

    /// A test that was to run, and could not be started.
    pub(in crate::harness) fn not_started(&mut self, next: &Decided, problem: &str) {
        let mut outcome = TestResult::new(Outcome::Failed, Shown::Failed(None));
        outcome.output = format!("this test was not started: {problem}\n").into_bytes();
        self.settle(next.test, outcome);
    }

    /// A test whose process has ended, with what it left behind.
    pub(in crate::harness) fn ended(&mut self, child: Child, left: Vec<Reason>) {
        let (test, as_uid) = (child.test, child.as_uid());
        self.conclude(test, as_uid, child.finish(), &left);
    }

    /// The same wherever the test has run.
    pub(in crate::harness) fn conclude(
        &mut self,
        test: &'static Test,
        as_uid: Option<u32>,
        exit: Exit,
        left: &[Reason],
    ) {
        let Exit {
            how,
            took,
            mut output,
            measures,
            halt,
            waived,
            reported,
        } = exit;
        let its = self.unmet.iter().position(|(name, _)| *name == test.name());
        let mut unmet = its.map_or_else(Vec::new, |index| self.unmet.swap_remove(index).1);
        unmet.extend(waived);
        let interrupted = matches!(how, How::Stopped(Cause::Interrupt(_), _));
        let (outcome, shown, why, mut reasons) = match halt {
            _ if !unmet.is_empty() && !interrupted => self.judge_unmet(test, how, unmet),
            Some(halt) if how == How::Halted => self.judge_halted(test, halt),
            _ => {
                let (outcome, shown, why) = judge(how, reported, test);
                (outcome, shown, why, Vec::new())
            }
        };
        if let Some(why) = why {
            add_note(&mut output, &why);
        }
        let mut outcome = TestResult::new(outcome, shown);
        if let How::Signal(signal) = how {
            outcome.signal = Some(signal.as_str());
        }
        self.summary.left_behind(test.name(), left);
        reasons.extend_from_slice(left);
        outcome.reasons = &reasons;
        outcome.as_uid = as_uid;
        outcome.took = Some(took);
        outcome.output = output;
        outcome.measures = &measures;
        self.settle(test, outcome);
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    pub(super) fn stale(&mut self, test: &Test, unmet: &[Reason]) {
        self.summary.stale(test.name(), unmet);
    }

    pub(in crate::harness) fn left_by_someone(&mut self, things: &[String]) {
        self.summary.left_by_someone(things);
    }

    /// Prints, records and counts.
    pub(in crate::harness) fn settle(&mut self, test: &'static Test, outcome: TestResult<'_>) {
        // Of a test that is lost that has been recorded when it began.
        if outcome.outcome != Outcome::Lost {
            self.record(test, &outcome);
        }
        self.show(test, &outcome);
        match outcome.outcome {
            Outcome::Passed => self.summary.passed(test.name(), outcome.output),
            Outcome::Ignored => self.summary.ignored(),
            Outcome::Skipped => self.summary.skipped(outcome.reasons),
            _ => self.summary.failed(test.name(), outcome.output),
        }
    }

    fn show(&mut self, test: &Test, outcome: &TestResult<'_>) {
        if let Some(log) = &mut self.log {
            let mut line = String::new();
            let _ = writeln!(line, "{} {}", outcome.shown.log_word(), test.name());
            let _ = log.write_all(line.as_bytes());
        }
        self.printer.line(&Line {
            name: test.name(),
            should_panic: test.should_panic != ShouldPanic::No,
            result: &outcome.shown,
            took: outcome.took,
            as_uid: outcome.as_uid,
            output: &outcome.output,
        });
    }

    /// Writes down what became known. To be called before anything that may take long.
    pub(in crate::harness) fn flush(&mut self) {
        self.records.flush();
    }

    fn record(&mut self, test: &Test, outcome: &TestResult<'_>) {
        self.records.add(&RecordLine {
            binary: &self.binary,
            test: test.name(),
            phase: Phase::Run,
            outcome: outcome.outcome,
            reasons: outcome.reasons,
            issue: test.issue,
            reason: outcome.note.or(test.reason),
            signal: outcome.signal,
            as_uid: outcome.as_uid,
            duration_ms: outcome.took.unwrap_or_default().as_secs_f64() * 1000.0,
            measures: outcome.measures,
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

/// What the end of a process means, what the line says of it, and what its output does not say.
fn judge(how: How, reported: Option<How>, test: &Test) -> (Outcome, Shown, Option<String>) {
    let failed =
        |detail: Option<String>, why: Option<String>| (Outcome::Failed, Shown::Failed(detail), why);
    match how {
        How::Passed => (Outcome::Passed, Shown::Ok, None),
        // Without its reasons a halt is a failure.
        How::Failed | How::Halted => failed(None, None),
        How::Signal(signal) => {
            let name = signal.as_str();
            let why = format!("the test's process died of {name}{}", after(reported));
            failed(Some(name.to_owned()), Some(why))
        }
        How::Exited(code) => {
            let when = match after(reported) {
                "" => " before the test had ended",
                after => after,
            };
            let why = format!("the test's process exited with code {code}{when}");
            failed(None, Some(why))
        }
        How::Stopped(cause, fate) => {
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
            let why = format!("{cause}; {fate}");
            (outcome, Shown::Failed(Some(cause)), Some(why))
        }
    }
}

/// What the test itself had reported when its process failed.
fn after(reported: Option<How>) -> &'static str {
    match reported {
        Some(How::Passed) => " after the test passed",
        Some(How::Failed) => " after the test failed",
        Some(How::Halted) => " after the test stopped half-way",
        _ => "",
    }
}

fn add_note(output: &mut Vec<u8>, note: &str) {
    if !output.is_empty() && !output.ends_with(b"\n") {
        output.push(b'\n');
    }
    output.extend_from_slice(format!("note: {note}\n").as_bytes());
}
