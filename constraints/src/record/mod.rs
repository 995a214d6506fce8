//! The record of what became of each test: JSON lines that harness and runner share.
//!
//! A test that is about to run is first written down as `lost`, and once more when it has ended; the
//! last line of a process about a test is the one that counts. So whatever kills the process, and
//! with whatever signal, the test it was at can be told. Lines go by one write(2) to a file that only
//! this process appends to, so they are whole; only the last can be cut.

mod hand_over;
pub(crate) mod json;
pub(crate) mod opt_ins;
mod place;
mod prune;
mod write;

use crate::measure::Measures;
use crate::verdict::Reason;

pub(crate) use hand_over::{hand_over, make_folder};
pub(crate) use place::{LIFELINE, make_root, serial_folder, start_time};
#[cfg(feature = "runner")]
pub use place::{is_target, target_folder_of};
pub(crate) use write::{Lines, write, write_all};
#[cfg(feature = "runner")]
pub(crate) use {place::point_latest, prune::prune};

/// The version of the lines' form.
pub(crate) const SCHEMA: u32 = 1;

/// The harness lists tests, or runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    List,
    Run,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    Failed,
    /// A constraint is unmet.
    Skipped,
    /// `#[ignore]`.
    Ignored,
    /// A constraint could not be decided.
    Undetermined,
    /// Its time was up.
    TimedOut,
    /// It began, and nothing more is known.
    Lost,
    /// No place could run it, which only a runner knows.
    #[cfg(feature = "runner")]
    Nowhere,
}

impl Phase {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Run => "run",
        }
    }
}

impl Ending {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
            Self::Undetermined => "undetermined",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            #[cfg(feature = "runner")]
            Self::Nowhere => "nowhere",
        }
    }
}

/// One line.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) binary: &'a str,
    pub(crate) test: &'a str,
    pub(crate) phase: Phase,
    pub(crate) ending: Ending,
    /// Why it was not run, or what it left behind; of one that passed, the constraints that are unmet
    /// and that it therefore does not need.
    pub(crate) reasons: &'a [Reason],
    pub(crate) issue: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) signal: Option<&'a str>,
    /// The user it ran as, if another one than this process.
    pub(crate) as_uid: Option<u32>,
    pub(crate) duration_ms: f64,
    pub(crate) measures: &'a Measures,
}

impl Record<'_> {
    /// Writes the line with its line break behind a text.
    pub(crate) fn write_line(&self, to: &mut String, process: &Process) {
        let mut line = json::Object::begin(std::mem::take(to));
        line.integer("schema", u64::from(SCHEMA));
        line.text("run", &process.run);
        line.text("binary", self.binary);
        line.text("test", self.test);
        line.text("place", &process.place);
        line.text("phase", self.phase.word());
        line.integer("attempt", u64::from(process.attempt));
        line.integer("as_uid", u64::from(self.as_uid.unwrap_or(process.uid)));
        line.text("outcome", self.ending.word());
        line.objects("reasons", self.reasons, |object, reason| {
            object.text("constraint", &reason.constraint);
            object.text("observed", &reason.observed);
            object.text("source", &reason.source);
        });
        line.text_or_null("issue", self.issue);
        line.text_or_null("reason", self.reason);
        line.text_or_null("signal", self.signal);
        line.number("duration_ms", self.duration_ms);
        line.object("measures", |object| {
            for (name, value) in self.measures {
                object.named_number(name, *value);
            }
        });
        *to = line.finish();
        to.push('\n');
    }
}

/// What all lines of a process have in common.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) run: String,
    pub(crate) place: String,
    /// Counts from 1.
    pub(crate) attempt: u32,
    pub(crate) uid: u32,
}

#[cfg(any(test, feature = "runner"))]
impl Record<'_> {
    /// The line alone.
    pub(crate) fn to_line(&self, run: &str, place: &str, attempt: u32, uid: u32) -> String {
        let process = Process {
            run: run.to_owned(),
            place: place.to_owned(),
            attempt,
            uid,
        };
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
        let record = Record {
            binary: "pkg::it",
            test: "a::b",
            phase: Phase::Run,
            ending: Ending::Skipped,
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
