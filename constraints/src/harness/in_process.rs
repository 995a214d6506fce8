//! Tests one by one in this process: for debuggers, which lose a test that runs in a child.

use std::process::ExitCode;
use std::time::Instant;

use super::body::{self, Ended};
use super::child::{Exit, How};
use super::plan::{Decided, Decision, Plan};
use super::run::{Report, select};
use super::serial;
use crate::facts::Here;
use crate::halt;
use crate::measure;
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
    let (how, halt) = match ended {
        Ended::Passed => (How::Passed, None),
        Ended::Failed(why) => {
            stderr(&format!("note: {why}\n"));
            (How::Failed, None)
        }
        Ended::Panicked(payload) => {
            // Dropping a payload can itself panic, and nobody needs it any more.
            std::mem::forget(payload);
            (How::Failed, None)
        }
        Ended::Halted(halt) => (How::Halted, Some(halt)),
    };
    let exit = Exit {
        how,
        took: start.elapsed(),
        output: Vec::new(),
        measures,
        halt,
        waived: halt::take_waived(),
        reported: None,
    };
    report.conclude(next.test, None, exit, &[]);
}
