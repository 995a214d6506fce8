//! Tests one by one in this process: for debuggers, which lose a test that runs in a child.

use std::process::ExitCode;
use std::time::Instant;

use super::body::{self, Ended};
use super::plan::{Decided, Decision, Plan};
use super::print::Result as Shown;
use super::run::{Outcome, Report, select};
use super::serial;
use crate::facts::Here;
use crate::measure;
use crate::record::Ending;
use crate::registry::Test;
use crate::sys::stderr;

/// Runs the selected tests here. A test that kills its process ends the run.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = select(plan, tests)?;
    let mut report = Report::new(plan, selected.filtered_out)?;
    report.head(selected.tests.len());
    let mut waiting = plan.decide(&selected.tests, &Here).into_iter();
    for next in waiting.by_ref() {
        if next.decision == Decision::Run {
            one(&mut report, &next);
        } else {
            report.not_run(&next);
        }
        if plan.options.fail_fast && report.has_failures() {
            break;
        }
    }
    Ok(report.finish(waiting.len(), None))
}

fn one(report: &mut Report<'_>, next: &Decided) {
    let lock = next.test.serial.map(serial::lock).transpose();
    let _lock = match lock {
        Ok(lock) => lock,
        Err(problem) => return report.not_started(next, &problem),
    };
    report.began(next);
    let start = Instant::now();
    let (ended, measures) = measure::collect(|| body::run(next.test));
    let mut reasons = Vec::new();
    let (ending, shown) = match ended {
        Ended::Passed => (Ending::Passed, Shown::Ok),
        Ended::Failed(why) => {
            stderr(&format!("note: {why}\n"));
            (Ending::Failed, Shown::Failed(None))
        }
        Ended::Panicked(payload) => {
            // Dropping a payload can itself panic, and nobody needs it any more.
            std::mem::forget(payload);
            (Ending::Failed, Shown::Failed(None))
        }
        Ended::Halted(halt) => {
            let (ending, shown, why) = report.halted(&halt);
            stderr(&why.map(|why| why + "\n").unwrap_or_default());
            reasons = halt.reasons;
            (ending, shown)
        }
    };
    let mut outcome = Outcome::new(ending, shown);
    outcome.took = Some(start.elapsed());
    outcome.measures = &measures;
    outcome.reasons = &reasons;
    report.settle(next.test, outcome);
}
