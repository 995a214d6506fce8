//! libtest's JSON lines (`--format json`, unstable there), with the reason of a skip as message.

use super::{Line, Totals, word};
use crate::json::Object;
use crate::record::Outcome;

fn event(kind: &str, event: &str, fill: impl FnOnce(&mut Object)) -> String {
    let mut object = Object::new();
    object.text("type", kind);
    object.text("event", event);
    fill(&mut object);
    object.finish_line()
}

pub(super) fn head(count: usize, seed: Option<u64>) -> String {
    event("suite", "started", |object| {
        object.integer("test_count", count as u64);
        if let Some(seed) = seed {
            object.integer("shuffle_seed", seed);
        }
    })
}

pub(super) fn started(name: &str) -> String {
    event("test", "started", |object| object.text("name", name))
}

pub(super) fn slow(name: &str) -> String {
    event("test", "timeout", |object| object.text("name", name))
}

pub(super) fn line(line: &Line<'_>, report_time: bool) -> String {
    event("test", word(line.outcome), |object| {
        object.text("name", line.name);
        if let Some(took) = line.took.filter(|_| report_time) {
            object.number("exec_time", took.as_secs_f64());
        }
        if word(line.outcome) == "failed" {
            object.text("stdout", &String::from_utf8_lossy(line.output));
        }
        match line.detail {
            "" if line.outcome == Outcome::ExpectedFailure => {
                object.text("message", "expected failure");
            }
            "" => {}
            cause if word(line.outcome) == "failed" => object.text("reason", cause),
            unmet if line.outcome == Outcome::Passed => {
                object.text("message", &format!("stale constraint: {unmet}"));
            }
            why if matches!(line.outcome, Outcome::ExpectedFailure | Outcome::Flaky) => {
                object.text("message", &format!("{}: {why}", line.outcome));
            }
            reason => object.text("message", reason),
        }
    })
}

pub(super) fn end(totals: &Totals) -> String {
    event("suite", if totals.ok { "ok" } else { "failed" }, |object| {
        for (key, count) in [
            ("passed", totals.passed),
            ("failed", totals.failed),
            ("ignored", totals.ignored),
            ("measured", 0),
            ("filtered_out", totals.filtered_out),
        ] {
            object.integer(key, count as u64);
        }
        for (key, count) in [
            ("expected_failures", totals.expected_failures),
            ("flaky", totals.flaky),
            ("unstable", totals.unstable),
        ] {
            // libtest has no such counts.
            if count > 0 {
                object.integer(key, count as u64);
            }
        }
        object.number("exec_time", totals.took.as_secs_f64());
    })
}

/// The list of `--list --format json`, each test with the reason of its `#[ignore]`.
pub(in crate::harness) fn list<'a>(
    tests: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut text = event("suite", "discovery", |_| {});
    let (mut count, mut ignored) = (0, 0);
    for (name, ignore) in tests {
        count += 1;
        ignored += u64::from(ignore.is_some());
        text += &event("test", "discovered", |object| {
            object.text("name", name);
            object.boolean("ignore", ignore.is_some());
            object.text("ignore_message", ignore.unwrap_or_default());
        });
    }
    text + &event("suite", "completed", |object| {
        for (key, count) in [
            ("tests", count),
            ("benchmarks", 0),
            ("total", count),
            ("ignored", ignored),
        ] {
            object.integer(key, count);
        }
    })
}
