//! The run: as many children as asked for at a time, one poll(2) for all that can happen.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{Child, Exit, How};
use super::interrupt::Interrupt;
use super::plan::{Decision, Plan};
use super::print::{Line, Printer, Result as Shown};
use super::select::Selected;
use super::summary::Summary;
use crate::contract::UNSKIP;
use crate::facts::Here;
use crate::measure::Measures;
use crate::record::{self, Ending, Phase, Record};
use crate::registry::Test;
use crate::sys::Signals;
use crate::verdict::{Reason, join};

/// Runs the selected tests and returns the exit code.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = plan.select(tests);
    if selected.tests.is_empty() && plan.caller == super::Caller::NextestRun {
        return Err("nextest asked for a test that is not here".to_owned());
    }
    let signals = Signals::install().map_err(|errno| format!("no signals: {errno}"))?;
    let log = plan.options.logfile.as_ref().map(|path| {
        File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
    });
    let run = Run {
        plan,
        binary: plan.target.binary_id(),
        printer: Printer::new(&plan.options),
        summary: Summary::new(selected.filtered_out),
        signals,
        log: log.transpose()?,
        unmet: HashMap::new(),
        started: Instant::now(),
    };
    Ok(run.all(selected))
}

struct Run<'a> {
    plan: &'a Plan,
    binary: String,
    printer: Printer,
    summary: Summary,
    signals: Signals,
    log: Option<File>,
    /// The running tests that are unmet, and are to run all the same.
    unmet: HashMap<&'static str, Vec<Reason>>,
    started: Instant,
}

impl Run<'_> {
    fn all(mut self, selected: Selected) -> ExitCode {
        self.printer.head(selected.tests.len());
        // Verdicts come before tests: a test may change what the host is, and a probe must not
        // keep the loop from the tests that run.
        let decided = |test: &'static Test| (test, self.plan.decide(test, &Here));
        let mut waiting: VecDeque<_> = selected.tests.into_iter().map(decided).collect();
        let mut running: Vec<Child> = Vec::new();
        let mut interrupt = None;
        loop {
            let stop =
                interrupt.is_some() || (self.plan.options.fail_fast && self.summary.has_failures());
            while !stop && running.len() < self.plan.options.threads.get() {
                let Some((test, decision)) = waiting.pop_front() else {
                    break;
                };
                running.extend(self.begin(test, decision));
            }
            if running.is_empty() && (stop || waiting.is_empty()) {
                break;
            }
            if running.is_empty() {
                continue;
            }
            self.wait(&running);
            interrupt = interrupt.or(Interrupt::among(&self.signals.take()));
            for mut child in std::mem::take(&mut running) {
                child.read();
                match interrupt {
                    Some(interrupt) => self.end_interrupted(child, interrupt),
                    None if child.has_ended() => self.end(child),
                    None => running.push(child),
                }
            }
        }
        self.finish(waiting.len(), interrupt)
    }

    /// Waits for output, for the end of a child, or for a signal.
    fn wait(&self, running: &[Child]) {
        let fds = running
            .iter()
            .flat_map(Child::fds)
            .chain([self.signals.fd()]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing but a programming error or a kernel without memory leads here.
            Err(errno) => panic!("poll: {errno}"),
        }
    }

    /// Starts a test, or settles what becomes of it without starting.
    fn begin(&mut self, test: &'static Test, decision: Decision) -> Option<Child> {
        let (ending, shown) = match &decision {
            Decision::Run => return self.start(test),
            Decision::RunUnmet(reasons) => {
                self.unmet.insert(test.name(), reasons.clone());
                return self.start(test);
            }
            Decision::Forbid(reasons, why) => {
                let why = format!("not run: {}\n{why}\n", join(reasons));
                self.summary.failed(test.name(), why.into_bytes());
                (Ending::Failed, Shown::Failed(None))
            }
            Decision::Ignored(reason) => {
                self.summary.ignored();
                (Ending::Ignored, Shown::Ignored((*reason).to_owned()))
            }
            Decision::Skip(reasons) => {
                self.summary.skipped(reasons);
                (Ending::Skipped, Shown::Ignored(join(reasons)))
            }
            Decision::Refuse(reasons) => {
                let why = format!(
                    "not run: {}\nnextest would show a skip in this phase as a pass. Either the \
                     test was forced (--run-ignored), or it was listed in another environment than \
                     it runs in: let wrappers and runners act on both.\n",
                    join(reasons)
                );
                self.summary.failed(test.name(), why.into_bytes());
                (Ending::Failed, Shown::Failed(None))
            }
            Decision::Undetermined(reasons) => {
                let why = format!("not run, since it is undetermined: {}\n", join(reasons));
                self.summary.failed(test.name(), why.into_bytes());
                (
                    Ending::Undetermined,
                    Shown::Failed(Some("undetermined".to_owned())),
                )
            }
        };
        self.record(test, &decision, ending, &[], None, 0.0);
        self.show(test, shown, None);
        None
    }

    fn start(&mut self, test: &'static Test) -> Option<Child> {
        // If this process dies, the record says what it was at.
        self.record(test, &Decision::Run, Ending::Lost, &[], None, 0.0);
        match Child::start(test, self.plan.options.capture) {
            Ok(child) => Some(child),
            Err(errno) => {
                let why = format!("no process could be started for this test: {errno}\n");
                self.summary.failed(test.name(), why.into_bytes());
                self.record(test, &Decision::Run, Ending::Failed, &[], None, 0.0);
                self.show(test, Shown::Failed(None), None);
                None
            }
        }
    }

    fn end(&mut self, child: Child) {
        let test = child.test;
        let mut exit = child.finish();
        let mut unmet = self.unmet.remove(test.name()).unwrap_or_default();
        unmet.append(&mut exit.waived);
        if !unmet.is_empty() {
            return self.end_unmet(test, exit, unmet);
        }
        if exit.how == How::Halted {
            return self.end_halted(test, exit);
        }
        let Exit {
            how,
            took,
            mut output,
            measures,
            ..
        } = exit;
        let (ending, signal, shown, why) = match how {
            How::Passed => (Ending::Passed, None, Shown::Ok, None),
            // A test that halted has left above; without its reasons it would have failed.
            How::Failed | How::Halted => (Ending::Failed, None, Shown::Failed(None), None),
            How::Signal(signal) => {
                let name = signal.as_str();
                let why = format!("the test's process died of {name}");
                (
                    Ending::Failed,
                    Some(name),
                    Shown::Failed(Some(name.to_owned())),
                    Some(why),
                )
            }
            How::Left(code) => {
                let why = format!(
                    "the test's process left with exit code {code} before the test had ended"
                );
                (Ending::Failed, None, Shown::Failed(None), Some(why))
            }
        };
        if let Some(why) = why {
            if !output.is_empty() && !output.ends_with(b"\n") {
                output.push(b'\n');
            }
            output.extend_from_slice(format!("note: {why}\n").as_bytes());
        }
        match ending {
            Ending::Passed => self.summary.passed(test.name(), output),
            _ => self.summary.failed(test.name(), output),
        }
        let millis = took.as_secs_f64() * 1000.0;
        self.record(test, &Decision::Run, ending, &measures, signal, millis);
        self.show(test, shown, Some(took.as_secs_f64()));
    }

    /// Ends a test that stopped half-way: what it required is unmet, or cannot be decided.
    fn end_halted(&mut self, test: &'static Test, exit: Exit) {
        let halt = exit.halt.expect("whoever halted said why");
        let (name, reasons) = (test.name(), join(&halt.reasons));
        let mut fail = |why: String| {
            let mut output = exit.output.clone();
            output.extend_from_slice(why.as_bytes());
            self.summary.failed(name, output);
        };
        let (ending, shown) = if halt.undetermined {
            fail(format!("stopped, since it is undetermined: {reasons}\n"));
            let shown = Shown::Failed(Some("undetermined".to_owned()));
            (Ending::Undetermined, shown)
        } else if let Some(forbidden) = self.plan.contract.forbids(&halt.reasons) {
            fail(format!("stopped half-way: {reasons}\n{forbidden}\n"));
            (Ending::Failed, Shown::Failed(None))
        } else if self.plan.caller == super::Caller::NextestRun {
            fail(format!(
                "stopped half-way: {reasons}\nnextest would show this skip as a pass: only what \
                 stands in the test's attribute is decided in time for it to show SKIP.\n"
            ));
            (Ending::Failed, Shown::Failed(None))
        } else {
            self.summary.skipped(&halt.reasons);
            (Ending::Skipped, Shown::Ignored(reasons))
        };
        let decision = Decision::Skip(halt.reasons);
        let seconds = exit.took.as_secs_f64();
        self.record(
            test,
            &decision,
            ending,
            &exit.measures,
            None,
            seconds * 1000.0,
        );
        self.show(test, shown, Some(seconds));
    }

    /// Ends a test that was run though it is unmet. If it passed, it does not need what it states;
    /// if not, it is as good as skipped, except to nextest, which is not told of skips by now.
    fn end_unmet(&mut self, test: &'static Test, exit: Exit, unmet: Vec<Reason>) {
        let (name, reasons) = (test.name(), join(&unmet));
        let (ending, shown) = if exit.how == How::Passed {
            self.summary.passed(name, exit.output);
            self.summary.stale(name, &unmet);
            (Ending::Passed, Shown::Stale(reasons))
        } else if self.plan.caller == super::Caller::NextestRun {
            let mut output = exit.output;
            let note = format!("note: run for {UNSKIP}=1, though unmet: {reasons}\n");
            output.extend_from_slice(note.as_bytes());
            self.summary.failed(name, output);
            (Ending::Failed, Shown::Failed(None))
        } else {
            self.summary.skipped(&unmet);
            let shown = Shown::Ignored(format!("{reasons}; run all the same, it did not pass"));
            (Ending::Skipped, shown)
        };
        let decision = Decision::RunUnmet(unmet);
        let (seconds, measures) = (exit.took.as_secs_f64(), &exit.measures);
        self.record(test, &decision, ending, measures, None, seconds * 1000.0);
        self.show(test, shown, Some(seconds));
    }

    /// Ends a test because the run is to stop. Its record stays as written when it began: lost.
    fn end_interrupted(&mut self, child: Child, interrupt: Interrupt) {
        let test = child.test;
        let Exit { mut output, .. } = child.finish();
        output
            .extend_from_slice(format!("note: killed, for {} came\n", interrupt.name()).as_bytes());
        self.summary.failed(test.name(), output);
        self.show(
            test,
            Shown::Failed(Some(format!("interrupted by {}", interrupt.name()))),
            None,
        );
    }

    fn show(&mut self, test: &Test, result: Shown, seconds: Option<f64>) {
        if let Some(log) = &mut self.log {
            let mut line = String::new();
            let _ = writeln!(line, "{} {}", result.log_word(), test.name());
            let _ = log.write_all(line.as_bytes());
        }
        let seconds = seconds.filter(|_| self.plan.options.report_time);
        let should_panic = test.should_panic != crate::registry::ShouldPanic::No;
        self.printer.line(&Line {
            name: test.name(),
            should_panic,
            result,
            seconds,
        });
    }

    fn record(
        &self,
        test: &Test,
        decision: &Decision,
        ending: Ending,
        measures: &[(String, f64)],
        signal: Option<&str>,
        duration_ms: f64,
    ) {
        let measures: Measures = measures.to_vec();
        record::write(&Record {
            binary: &self.binary,
            test: test.name(),
            phase: Phase::Run,
            ending,
            reasons: decision.reasons(),
            issue: test.issue,
            reason: decision.note(test).as_deref(),
            signal,
            duration_ms,
            measures: &measures,
        });
    }

    fn finish(mut self, not_started: usize, interrupt: Option<Interrupt>) -> ExitCode {
        let took = self.started.elapsed();
        let text = self.summary.text(
            &self.plan.options,
            &self.printer,
            not_started,
            interrupt,
            took,
        );
        let printed = self.printer.end(&text);
        match interrupt {
            Some(interrupt) => interrupt.exit_code(),
            None if self.summary.has_failures() || !printed => ExitCode::from(super::FAILURE),
            None => ExitCode::SUCCESS,
        }
    }
}
