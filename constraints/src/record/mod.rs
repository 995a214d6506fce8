//! The record of what became of each test: JSON lines that harness and runner share.
//!
//! A test that is about to run is first written down as `lost`, and once more when it has ended; the
//! last line of a process about a test is the one that counts. So whatever kills the process, and
//! with whatever signal, the test it was at can be told. Lines go by one write(2) to a file that only
//! this process appends to, so they are whole; only the last can be cut.

mod hand_over;
pub(crate) mod json;
mod latest;
pub(crate) mod opt_ins;
mod outcome;
mod place;
mod prune;
mod start;
mod write;

use crate::measure::Measures;
use crate::verdict::Reason;
use json::{integer, number, quote, quote_or_null};

pub(crate) use hand_over::open_folder;
pub use hand_over::{Folder, UNFINISHED};
pub use latest::point_latest;
pub use outcome::{Outcome, Phase};
pub(crate) use place::serial_folder;
pub use place::{LIFELINE, file_name, make_root, run_folder};
pub use prune::prune;
pub use start::start_time;
pub(crate) use write::{Lines, write, write_all};

/// The version of the lines' form.
pub const SCHEMA: u32 = 1;

/// One line.
#[derive(Debug)]
pub struct RecordLine<'a> {
    /// The binary's id, in nextest's form.
    pub binary: &'a str,
    /// The test's name.
    pub test: &'a str,
    /// Whether it was listed or run.
    pub phase: Phase,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why it was not run, or what it left behind; of one that passed, the constraints that are unmet
    /// and that it therefore does not need.
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
    /// Writes the line with its line break behind a text. A list has a thousand of them, in programs
    /// without optimisation, so punctuation stands in few and long pieces.
    pub fn write_line(&self, to: &mut String, process: &Process) {
        to.push_str(&process.head);
        quote(to, self.test);
        to.push_str(process.place(self.phase));
        match self.as_uid {
            Some(uid) => integer(to, u64::from(uid)),
            None => to.push_str(&process.uid),
        }
        to.push_str(r#","outcome":""#);
        to.push_str(self.outcome.word());
        to.push_str(r#"","reasons":["#);
        self.write_reasons(to);
        to.push_str(r#"],"issue":"#);
        quote_or_null(to, self.issue);
        to.push_str(r#","reason":"#);
        quote_or_null(to, self.reason);
        to.push_str(r#","signal":"#);
        quote_or_null(to, self.signal);
        to.push_str(r#","duration_ms":"#);
        number(to, self.duration_ms);
        to.push_str(r#","measures":{"#);
        self.write_measures(to);
        to.push_str("}}\n");
    }

    fn write_reasons(&self, to: &mut String) {
        let mut before = r#"{"constraint":"#;
        for reason in self.reasons {
            to.push_str(before);
            before = r#"},{"constraint":"#;
            quote(to, &reason.constraint);
            to.push_str(r#","observed":"#);
            quote(to, &reason.observed);
            to.push_str(r#","source":"#);
            quote(to, &reason.source);
        }
        if !self.reasons.is_empty() {
            to.push('}');
        }
    }

    fn write_measures(&self, to: &mut String) {
        let mut comma = "";
        for (name, value) in self.measures {
            to.push_str(comma);
            comma = ",";
            quote(to, name);
            to.push(':');
            number(to, *value);
        }
    }
}

/// What all lines of a process have in common, as it stands in them.
#[derive(Debug)]
pub struct Process {
    /// All that comes before the test's name.
    head: String,
    /// What comes behind it, in a list and in a run.
    places: [String; 2],
    uid: String,
}

impl Process {
    /// Attempts count from 1.
    pub fn new(run: &str, binary: &str, place: &str, attempt: u32, uid: u32) -> Self {
        let mut head = format!(r#"{{"schema":{SCHEMA},"run":"#);
        quote(&mut head, run);
        head.push_str(r#","binary":"#);
        quote(&mut head, binary);
        head.push_str(r#","test":"#);
        let in_phase = |phase: Phase| {
            let mut text = String::from(r#","place":"#);
            quote(&mut text, place);
            text + &format!(
                r#","phase":"{}","attempt":{attempt},"as_uid":"#,
                phase.word()
            )
        };
        Self {
            head,
            places: [Phase::List, Phase::Run].map(in_phase),
            uid: uid.to_string(),
        }
    }

    fn place(&self, phase: Phase) -> &str {
        &self.places[phase as usize]
    }
}

impl RecordLine<'_> {
    /// The line alone.
    pub fn to_line(&self, run: &str, place: &str, attempt: u32, uid: u32) -> String {
        let process = Process::new(run, self.binary, place, attempt, uid);
        let mut line = String::new();
        self.write_line(&mut line, &process);
        line
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the line's form. That it is read back is covered by the runner's tests.

    use super::*;

    #[test]
    fn the_line_has_every_field() {
        let reasons = [Reason {
            constraint: "root".into(),
            observed: "effective uid is \"1000\"".into(),
            source: "geteuid".into(),
        }];
        let record = RecordLine {
            binary: "pkg::it",
            test: "a::b",
            phase: Phase::Run,
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
            record.to_line("7-8", "here", 1, 1000),
            concat!(
                r#"{"schema":1,"run":"7-8","binary":"pkg::it","test":"a::b","place":"here","#,
                r#""phase":"run","attempt":1,"as_uid":1000,"outcome":"skipped","#,
                r#""reasons":[{"constraint":"root","observed":"effective uid is \"1000\"","#,
                r#""source":"geteuid"}],"issue":"x/1","reason":null,"signal":null,"#,
                r#""duration_ms":0.25,"measures":{"attach_ms":12.5}}"#,
                "\n"
            )
        );
    }
}
