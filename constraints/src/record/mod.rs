//! Records: JSON lines about each test, which the harness writes and the runner reads.
//!
//! A test is recorded as `lost` before it starts, and again when it has ended; the last line of a
//! process about a test counts. So the record names the test that ran when the process was killed.
//! Each line is appended by one write(2) to a file of this process's own: only the last line can be
//! truncated.

mod folder;
mod latest;
pub(crate) mod opt_ins;
mod outcome;
mod paths;
mod prune;
mod start_time;
mod write;

use crate::json::Object;
use crate::measure::Measures;
use crate::reason::Reason;

pub(crate) use folder::open_folder;
pub use folder::{Folder, UNFINISHED};
pub use latest::point_latest;
pub use outcome::{Outcome, Phase};
pub(crate) use paths::serial_folder;
pub use paths::{LIFELINE, file_name, make_root, run_folder};
pub use prune::prune;
pub use start_time::start_time;
pub(crate) use write::{Lines, print_or_write, write_all};

/// The version of the lines' form.
pub const SCHEMA: u32 = 1;

/// A line of a record.
#[derive(Debug)]
pub struct RecordLine<'a> {
    /// The binary's id, in nextest's form.
    pub binary: &'a str,
    /// The test's name.
    pub test: &'a str,
    /// Whether it was listed or run.
    pub phase: Phase,
    /// Which attempt of this process it was, from 1.
    pub attempt: u32,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why it did not run, or what it left behind; if it passed, its stale constraints.
    pub reasons: &'a [Reason],
    /// The test's `issue`.
    pub issue: Option<&'a str>,
    /// The test's `reason`.
    pub reason: Option<&'a str>,
    /// The signal that ended its process.
    pub signal: Option<&'a str>,
    /// The user it ran as, if another one than this process.
    pub as_uid: Option<u32>,
    /// How long it ran, in milliseconds.
    pub duration_ms: f64,
    /// What it reported by `measure`.
    pub measures: &'a Measures,
}

impl RecordLine<'_> {
    /// Returns the line, with its line break. `uid` is that of the process.
    pub fn to_line(&self, run: &str, place: &str, uid: u32) -> String {
        let mut line = Object::new();
        line.integer("schema", u64::from(SCHEMA));
        line.text("run", run);
        line.text("binary", self.binary);
        line.text("test", self.test);
        line.text("place", place);
        line.text("phase", self.phase.word());
        line.integer("attempt", u64::from(self.attempt));
        line.integer("as_uid", u64::from(self.as_uid.unwrap_or(uid)));
        line.text("outcome", self.outcome.word());
        line.objects("reasons", self.reasons, write_reason);
        line.text_or_null("issue", self.issue);
        line.text_or_null("reason", self.reason);
        line.text_or_null("signal", self.signal);
        line.number("duration_ms", self.duration_ms);
        line.numbers("measures", self.measures);
        line.finish_line()
    }
}

/// Writes the fields of a reason.
pub(crate) fn write_reason(object: &mut Object, reason: &Reason) {
    let constraint = reason.is_constraint().then_some(&*reason.constraint);
    object.text("kind", reason.kind.word());
    object.text_or_null("constraint", constraint);
    object.text("observed", &reason.observed);
    object.text("source", &reason.source);
}

#[cfg(test)]
mod tests {
    //! Scope: the line's form. That it is read back is covered by the runner's tests.

    use super::*;

    #[test]
    fn the_line_has_every_field() {
        let reasons = [
            Reason::constraint("root", "effective uid is \"1000\"", "geteuid"),
            Reason::runtime_skip("no disk", "a.rs:7"),
        ];
        let record = RecordLine {
            binary: "pkg::it",
            test: "a::b",
            phase: Phase::Run,
            attempt: 1,
            outcome: Outcome::Skipped,
            reasons: &reasons,
            issue: Some("x/1"),
            reason: None,
            signal: None,
            as_uid: None,
            duration_ms: 0.25,
            measures: &vec![("attach_ms".into(), 12.5)],
        };
        assert_eq!(
            record.to_line("7-8", "here", 1000),
            concat!(
                r#"{"schema":1,"run":"7-8","binary":"pkg::it","test":"a::b","place":"here","#,
                r#""phase":"run","attempt":1,"as_uid":1000,"outcome":"skipped","#,
                r#""reasons":[{"kind":"constraint","constraint":"root","#,
                r#""observed":"effective uid is \"1000\"","source":"geteuid"},"#,
                r#"{"kind":"runtime_skip","constraint":null,"observed":"no disk","#,
                r#""source":"a.rs:7"}],"issue":"x/1","reason":null,"signal":null,"#,
                r#""duration_ms":0.25,"measures":{"attach_ms":12.5}}"#,
                "\n"
            )
        );
    }
}
