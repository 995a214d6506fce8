//! The list for a runner: a JSON line for the binary, one for each test, and one for each fact that the
//! verdicts rest on.
//!
//! | line | fields |
//! |---|---|
//! | binary | `binary`, `steps_per_ms` |
//! | test | `test`, `verdict` (`met`, `unmet`, `undetermined`, `ignored`), `open`, `as_uid`, `needs`, `reasons`, `issue`, `reason`, `timeout_ms`, `retries`, `own_machine`, `demand` (what it asks of a VM, if anything) |
//! | answer | `question`, `finding`, `text`, `source`, as in a recorded host |

use super::recorded::is_open;
use super::speed::steps_per_ms;
use crate::constraint::{Demand, Status};
use crate::facts::{Answer, Here, Question};
use crate::harness::plan::{Evaluated, Plan};
use crate::json::{Object, quoted_or_null};
use crate::record::reasons_text;
use crate::registry::Test;

/// The lines of the selected tests.
pub(in crate::harness) fn lines(plan: &Plan, tests: &[&'static Test]) -> String {
    let tests = plan.select(tests).tests;
    let evaluated = plan.evaluate(&tests, plan.contract.host());
    let mut text = binary(&plan.target.binary_id());
    for (test, evaluated) in tests.iter().zip(&evaluated) {
        text.push_str(&line(plan, test, evaluated.as_ref()));
    }
    // A recorded host has no new facts.
    if plan.contract.recorded.is_none() {
        for (question, answer) in Here::asked() {
            text.push_str(&fact(question, &answer));
        }
    }
    text
}

fn binary(id: &str) -> String {
    let mut line = Object::new();
    line.text("binary", id);
    line.number("steps_per_ms", steps_per_ms());
    line.finish_line()
}

fn line(plan: &Plan, test: &Test, evaluated: Option<&Evaluated>) -> String {
    let status = evaluated.map(|evaluated| evaluated.evaluation.status);
    let word = status.map_or("ignored", Status::word);
    let recorded = plan.contract.recorded.as_ref();
    let open = recorded.zip(status);
    let constraints: Vec<String> = test.constraints.iter().map(ToString::to_string).collect();
    let mut line = Object::new();
    line.text("test", test.name());
    line.text("verdict", word);
    line.boolean(
        "open",
        open.is_some_and(|(host, status)| is_open(test, host, status)),
    );
    match evaluated.and_then(|evaluated| evaluated.user) {
        Some(user) => line.integer("as_uid", u64::from(user.uid())),
        None => line.text_or_null("as_uid", None),
    }
    line.text("needs", &constraints.join(", "));
    let reasons = evaluated.map_or(&[][..], |evaluated| &evaluated.evaluation.reasons);
    line.raw("reasons", &reasons_text(reasons));
    line.text_or_null("issue", test.issue);
    line.text_or_null("reason", test.reason);
    match test.time_limit() {
        Some(limit) => line.number("timeout_ms", limit.as_secs_f64() * 1e3),
        None => line.text_or_null("timeout_ms", None),
    }
    line.integer("retries", u64::from(test.retries.unwrap_or_default()));
    line.boolean("own_machine", test.own_machine);
    let asked = Demand::of(test.constraints);
    if asked != Demand::default() {
        line.raw("demand", &demand(&asked));
    }
    line.finish_line()
}

fn demand(asked: &Demand) -> String {
    let mut object = Object::new();
    object.integer("cpus", u64::from(asked.cpus));
    object.integer("memory", asked.memory);
    object.integer("disk", asked.disk);
    object.integer("numa_nodes", u64::from(asked.numa_nodes));
    let arguments = asked.kernel_args.iter();
    let arguments: Vec<_> = arguments.map(|one| quoted_or_null(Some(one))).collect();
    object.raw("kernel_args", &format!("[{}]", arguments.join(",")));
    object.boolean("cgroup_v1", asked.cgroup_v1);
    object.boolean("network", asked.network);
    object.finish()
}

fn fact(question: Question, answer: &Answer) -> String {
    let (finding, text) = answer.finding.parts();
    let mut line = Object::new();
    line.text("question", &question.to_string());
    line.text("finding", finding);
    line.text("text", text);
    line.text("source", &answer.source);
    line.finish_line()
}
