//! Runs tests in this process, one after the other: for debuggers, which lose a forked test.

use std::process::ExitCode;
use std::time::Instant;

use super::body;
use super::child::Exit;
use super::plan::{Decided, Decision, Plan};
use super::run::{Report, select};
use super::serial;
use super::test_end::TestEnd;
use crate::facts::Here;
use crate::measure;
use crate::registry::Test;
use crate::runtime_skip;
use crate::sys::stderr;

/// Runs the selected tests. A test that kills its process ends the run.
pub(super) fn run(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    let selected = select(plan, tests)?;
    let mut report = Report::new(plan, selected.filtered_out)?;
    report.head(selected.tests.len());
    let mut waiting = plan.decide(&selected.tests, &Here).into_iter();
    for next in waiting.by_ref() {
        if matches!(next.decision, Decision::Run(_)) {
            let mut next = next;
            while run_one(&mut report, &next) {
                next.attempt += 1;
            }
        } else {
            report.not_run(&next);
        }
        if plan.options.fail_fast && report.has_failures() {
            break;
        }
    }
    Ok(report.finish(waiting.len(), None))
}

/// Runs a test, and returns whether it is to run again.
fn run_one(report: &mut Report<'_>, next: &Decided) -> bool {
    let lock = next.test.serial.map(serial::lock).transpose();
    let _lock = match lock {
        Ok(lock) => lock,
        Err(problem) => {
            report.not_started(next, &problem);
            return false;
        }
    };
    report.began(next);
    let start = Instant::now();
    let mut expected = None;
    let tell = |index| expected = Some(index);
    let (end, measures) = measure::collect(|| body::run(next.test, tell));
    if let TestEnd::Failed(Some(why)) = &end {
        stderr(&format!("note: {why}\n"));
    }
    let exit = Exit {
        end,
        after: "",
        took: start.elapsed(),
        output: Vec::new(),
        measures,
        artifacts: None,
        expected: expected.map(|index: usize| &next.test.expect_failure[index]),
        waived: runtime_skip::take_waived(),
        guest_cpus: 0,
    };
    report.conclude(next, exit, &[])
}
