//! Lines for a person, in libtest's form.

use super::{Line, Result, one_line};

/// How wide a line of dots is.
const TERSE_WIDTH: usize = 88;

#[derive(Clone, Copy)]
pub(in crate::harness) enum Paint {
    Green,
    Red,
    Yellow,
}

pub(super) fn head(count: usize, seed: Option<u64>) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let seed = seed.map(|seed| format!(" (shuffle seed: {seed})"));
    format!(
        "\nrunning {count} test{plural}{}\n",
        seed.unwrap_or_default()
    )
}

pub(super) fn pretty(line: &Line<'_>, colored: bool, report_time: bool) -> String {
    let should_panic = if line.should_panic {
        " - should panic"
    } else {
        ""
    };
    let (word, color, detail) = match &line.result {
        Result::Ok => ("ok", Paint::Green, String::new()),
        Result::Stale(unmet) => {
            let detail = format!(", with a stale constraint: {}", one_line(unmet));
            ("ok", Paint::Green, detail)
        }
        Result::Failed(None) => ("FAILED", Paint::Red, String::new()),
        Result::Failed(Some(how)) => ("FAILED", Paint::Red, format!(" ({how})")),
        Result::Ignored(reason) if reason.is_empty() => ("ignored", Paint::Yellow, String::new()),
        Result::Ignored(reason) => ("ignored", Paint::Yellow, format!(", {}", one_line(reason))),
    };
    let word = paint(word, color, colored);
    let took = line.took.filter(|_| report_time);
    let took = took.map(|took| format!(" <{:.3}s>", took.as_secs_f64()));
    let user = line.as_uid.map(|uid| format!(" (as uid {uid})"));
    let [took, user] = [took, user].map(Option::unwrap_or_default);
    format!(
        "test {}{should_panic} ... {word}{detail}{user}{took}\n",
        line.name
    )
}

/// One character, and a line break behind a full line.
pub(super) fn terse(result: &Result, colored: bool, column: &mut usize) -> String {
    let dot = match result {
        Result::Ok | Result::Stale(_) => paint(".", Paint::Green, colored),
        Result::Failed(_) => paint("F", Paint::Red, colored),
        Result::Ignored(_) => paint("i", Paint::Yellow, colored),
    };
    *column += 1;
    let end = if ends_line(*column) { "\n" } else { "" };
    format!("{dot}{end}")
}

pub(super) fn ends_line(column: usize) -> bool {
    column % TERSE_WIDTH == 0
}

pub(super) fn paint(text: &str, color: Paint, colored: bool) -> String {
    if !colored {
        return text.to_owned();
    }
    let code = match color {
        Paint::Green => 32,
        Paint::Red => 31,
        Paint::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
