//! Records: JSON lines about each test, which the harness writes and the runner reads.
//!
//! A test is recorded as `lost` before it starts, and again when it has ended; the last line of a
//! process about a test counts. So the record names the test that ran when the process was killed.
//! Each line is appended by one write(2) to a file of this process's own: only the last line can be
//! truncated.

mod artifacts;
mod folder;
mod latest;
pub(crate) mod opt_ins;
mod outcome;
mod paths;
mod prune;
mod start_time;
mod write;

use crate::json::{Object, escaped, number_text, quoted_or_null};
use crate::measure::Measures;
use crate::reason::Reason;

pub use artifacts::{
    ARTIFACTS, ARTIFACTS_FOLDER, Artifacts, ArtifactsFolder, ArtifactsRoot, ENDED, artifacts_path,
};
pub(crate) use folder::open_folder;
pub use folder::{Folder, UNFINISHED};
pub use latest::point_latest;
pub use outcome::{Outcome, Phase};
pub(crate) use paths::serial_folder;
pub use paths::{LIFELINE, file_name, make_root, run_folder};
pub use prune::prune;
pub use start_time::start_time;
pub(crate) use write::{ArtifactsFolders, Lines, print_or_write};

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
    /// The files that it left.
    pub artifacts: Option<&'a Artifacts>,
}

impl<'a> RecordLine<'a> {
    /// A first attempt at a test, of which nothing but the outcome is stated.
    pub(crate) fn new(binary: &'a str, test: &'a str, outcome: Outcome) -> Self {
        Self {
            binary,
            test,
            phase: Phase::Run,
            attempt: 1,
            outcome,
            reasons: &[],
            issue: None,
            reason: None,
            signal: None,
            as_uid: None,
            duration_ms: 0.0,
            measures: const { &Measures::new() },
            artifacts: None,
        }
    }

    /// Returns the line, with its line break. `uid` is that of the process.
    pub fn to_line(&self, run: &str, place: &str, uid: u32) -> String {
        self.line_with_reasons(run, place, uid, &reasons_text(self.reasons))
    }

    /// The same with the text of its reasons.
    fn line_with_reasons(&self, run: &str, place: &str, uid: u32, reasons: &str) -> String {
        // In one go: a thousand tests may be listed, and this is compiled without optimization, as opposed to
        // what formats it.
        let line = format!(
            "{{\"schema\":{},\"run\":\"{}\",\"binary\":\"{}\",\"test\":\"{}\",\"place\":\"{}\",\"phase\":\"{}\",\
             \"attempt\":{},\"as_uid\":{},\"outcome\":\"{}\",\"reasons\":{},\"issue\":{},\"reason\":{},\
             \"signal\":{},\"duration_ms\":{}",
            SCHEMA,
            &*escaped(run),
            &*escaped(self.binary),
            &*escaped(self.test),
            &*escaped(place),
            self.phase.word(),
            self.attempt,
            self.as_uid.unwrap_or(uid),
            self.outcome.word(),
            reasons,
            &*quoted_or_null(self.issue),
            &*quoted_or_null(self.reason),
            &*quoted_or_null(self.signal),
            number_text(self.duration_ms),
        );
        let mut line = Object::of(line);
        line.numbers("measures", self.measures);
        if let Some(artifacts) = self.artifacts {
            line.raw("artifacts", &artifacts.to_json());
        }
        line.finish_line()
    }
}

/// Returns a list of reasons as objects.
pub(crate) fn reasons_text(reasons: &[Reason]) -> String {
    let reasons: Vec<String> = reasons.iter().map(reason).collect();
    format!("[{}]", reasons.join(","))
}

/// A reason as an object.
fn reason(reason: &Reason) -> String {
    let constraint = reason.is_constraint().then_some(&*reason.constraint);
    format!(
        "{{\"kind\":\"{}\",\"constraint\":{},\"observed\":\"{}\",\"source\":\"{}\"}}",
        reason.kind.word(),
        &*quoted_or_null(constraint),
        &*escaped(&reason.observed),
        &*escaped(&reason.source),
    )
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
            artifacts: Some(&Artifacts {
                folder: "artifacts/here/p/b/1".to_owned(),
                files: 2,
                bytes: 7,
            }),
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
                r#""duration_ms":0.25,"measures":{"attach_ms":12.5},"#,
                r#""artifacts":{"folder":"artifacts/here/p/b/1","files":2,"bytes":7}}"#,
                "\n"
            )
        );
    }
}
