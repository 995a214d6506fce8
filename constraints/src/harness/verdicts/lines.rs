//! A list for a runner: a line of JSON for the binary, for each test, and for each answer that the
//! verdicts rest on.
//!
//! | line | fields |
//! |---|---|
//! | binary | `binary`, `steps_per_ms` |
//! | test | `test`, `verdict` (`met`, `unmet`, `undetermined`, `ignored`), `open`, `as_uid`, `needs`, `reasons`, `issue`, `reason`, `timeout_ms`, `own_machine` |
//! | answer | `question`, `finding`, `text`, `source`, as in a recorded host |

use super::recorded::is_open;
use super::speed::steps_per_ms;
use crate::constraint::{Judgement, Standing};
use crate::facts::{Answer, Finding, Here, Question};
use crate::harness::judged::Judged;
use crate::harness::plan::Plan;
use crate::harness::user::User;
use crate::record::json::Object;
use crate::registry::Test;

/// The lines of the selected tests.
pub(in crate::harness) fn lines(plan: &Plan, tests: &[&'static Test]) -> String {
    let tests = plan.select(tests).tests;
    let judged = plan.judge(&tests, plan.contract.host());
    let mut text = binary(&plan.target.binary_id());
    for (test, judged) in tests.iter().zip(&judged) {
        text.push_str(&line(test, judged));
    }
    // Of a recorded host nothing new is learnt.
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
    end(line)
}

fn line(test: &Test, judged: &Judged) -> String {
    const NOTHING: &Judgement = &Judgement {
        standing: Standing::Met,
        reasons: Vec::new(),
    };
    let (word, user, judgement) = match judged {
        Judged::Ignored(_) => ("ignored", None, NOTHING),
        Judged::As(user, judgement) => {
            let word = match judgement.standing {
                Standing::Met => "met",
                Standing::Unmet => "unmet",
                Standing::Undetermined => "undetermined",
            };
            (word, *user, judgement)
        }
    };
    let needs: Vec<String> = test.constraints.iter().map(ToString::to_string).collect();
    let mut line = Object::new();
    line.text("test", test.name());
    line.text("verdict", word);
    let is_undetermined = judgement.standing == Standing::Undetermined;
    line.boolean("open", is_undetermined && is_open(judgement));
    match user.map(User::uid) {
        Some(uid) => line.number("as_uid", f64::from(uid)),
        None => line.text_or_null("as_uid", None),
    }
    line.text("needs", &needs.join(", "));
    line.objects("reasons", &judgement.reasons, |object, reason| {
        object.text("constraint", &reason.constraint);
        object.text("observed", &reason.observed);
        object.text("source", &reason.source);
    });
    line.text_or_null("issue", test.issue);
    line.text_or_null("reason", test.reason);
    match test.time_limit() {
        Some(limit) => line.number("timeout_ms", limit.as_secs_f64() * 1e3),
        None => line.text_or_null("timeout_ms", None),
    }
    line.boolean("own_machine", test.own_machine);
    end(line)
}

fn fact(question: Question, answer: &Answer) -> String {
    let (finding, text) = match &answer.finding {
        Finding::Is(text) => ("is", text),
        Finding::Absent(text) => ("absent", text),
        Finding::Unknown(text) => ("unknown", text),
    };
    let mut line = Object::new();
    line.text("question", &question.to_string());
    line.text("finding", finding);
    line.text("text", text);
    line.text("source", &answer.source);
    end(line)
}

fn end(line: Object) -> String {
    let mut line = line.finish();
    line.push('\n');
    line
}
