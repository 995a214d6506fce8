//! libtest's JUnit file (`--format junit`, unstable there), which leaves skipped tests out: here
//! they stand in it, with their reasons.

use std::fmt::Write;

use super::{Line, Result, Totals};

/// One test's element.
pub(super) fn case(line: &Line<'_>) -> String {
    let (class, name) = line.name.rsplit_once("::").unwrap_or(("crate", line.name));
    let seconds = line.took.unwrap_or_default().as_secs_f64();
    let mut text = format!(
        "<testcase classname=\"{}\" name=\"{}\" time=\"{seconds}\"",
        escape(class),
        escape(name)
    );
    let _ = match &line.result {
        Result::Ok | Result::Stale(_) => write!(text, "/>"),
        Result::Ignored(reason) => {
            write!(
                text,
                "><skipped message=\"{}\"/></testcase>",
                escape(reason)
            )
        }
        Result::Failed(how) => write!(
            text,
            "><failure type=\"assert\" message=\"{}\"/><system-out>{}</system-out></testcase>",
            escape(how.as_deref().unwrap_or("failed")),
            escape(&String::from_utf8_lossy(line.output))
        ),
    };
    text
}

/// The whole file, as libtest has it on one line.
pub(super) fn file(cases: &str, totals: &Totals) -> String {
    let tests = totals.passed + totals.failed + totals.ignored;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><testsuites><testsuite name=\"test\" \
         package=\"test\" id=\"0\" errors=\"0\" failures=\"{}\" tests=\"{tests}\" skipped=\"{}\">\
         {cases}<system-out/><system-err/></testsuite></testsuites>\n",
        totals.failed, totals.ignored
    )
}

/// Text as XML 1.0 can hold it: most control characters it cannot, not even escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
