//! The run: as many children as asked for at a time, one poll(2) for all that can happen.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{Child, Exit, How};
use super::interrupt::Interrupt;
use super::lifeline::Lifeline;
use super::plan::{Decision, Plan};
use super::print::{Line, Printer, Result as Shown};
use super::select::Selected;
use super::summary::Summary;
use crate::facts::Here;
use crate::measure::Measures;
use crate::record::{self, Ending, Phase, Record};
use crate::registry::Test;
use crate::sys::Signals;
use crate::verdict::join;

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
        lifeline: Lifeline::here(),
        log: log.transpose()?,
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
    lifeline: Lifeline,
    log: Option<File>,
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
            interrupt = interrupt.or_else(|| self.interrupt());
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

    /// What asks this run to stop, if anything does by now.
    fn interrupt(&mut self) -> Option<Interrupt> {
        let signalled = Interrupt::among(&self.signals.take());
        signalled.or_else(|| self.lifeline.is_cut().then(Interrupt::runner_gone))
    }

    /// Waits for output, for the end of a child, for a signal, or for the end of the runner.
    fn wait(&self, running: &[Child]) {
        let fds = running
            .iter()
            .flat_map(Child::fds)
            .chain([self.signals.fd()])
            .chain(self.lifeline.fd());
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
        let Exit {
            how,
            took,
            mut output,
            measures,
        } = child.finish();
        let (ending, signal, shown, why) = match how {
            How::Passed => (Ending::Passed, None, Shown::Ok, None),
            How::Failed => (Ending::Failed, None, Shown::Failed(None), None),
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
