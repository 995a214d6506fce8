//! Records that come from a guest. The guest is not trusted: only records of the tests that it was
//! given are kept, in a file that is named here, and their number and length are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;

use kata_test_runner::{Outcome, Phase, Record};

/// The longest record, in bytes. Most have some 300.
const LONGEST: usize = 64 << 10;

/// The longest name of a file that Linux takes, in bytes.
const LONGEST_NAME: usize = 255;

/// How many files may have a record without its end at one time. A harness writes one file; tests
/// that run test binaries of their own have others.
const UNENDED: usize = 16;

/// Bytes of records that each test may have on average, and that all have on top.
const FOR_EACH: usize = 4 << 10;
const FOR_ALL: usize = 1 << 20;

/// The longest time that a test can have taken, in milliseconds: some thirty years.
const LONGEST_DURATION: f64 = 1e12;

/// What the records of one run of a test binary must name.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) run: String,
    pub(super) place: String,
    pub(super) binary: String,
    pub(super) tests: BTreeSet<String>,
}

/// The records of one run of a test binary.
#[derive(Debug)]
pub(super) struct Records {
    expected: Expected,
    /// Where they are kept.
    file: File,
    /// The tests that began and have not ended.
    began: BTreeSet<String>,
    /// The tests that have ended, in whatever way.
    ended: BTreeSet<String>,
    /// The records whose end has not come yet, by the guest's file.
    unended: BTreeMap<String, Vec<u8>>,
    /// The bytes that are kept.
    kept: usize,
    /// Why a record could not be kept.
    unwritten: Option<io::Error>,
}

impl Records {
    pub(super) fn new(expected: Expected, file: File) -> Self {
        Self {
            expected,
            file,
            began: BTreeSet::new(),
            ended: BTreeSet::new(),
            unended: BTreeMap::new(),
            kept: 0,
            unwritten: None,
        }
    }

    pub(super) fn has_begun(&self, test: &str) -> bool {
        self.began.contains(test)
    }

    pub(super) fn has_ended(&self, test: &str) -> bool {
        self.ended.contains(test)
    }

    /// Returns the error of a record that could not be kept.
    pub(super) fn unwritten(&mut self) -> Option<io::Error> {
        self.unwritten.take()
    }

    /// Takes what was appended to a file in the guest's folder of records. Breaks with the reason if
    /// no harness writes so.
    pub(super) fn append(&mut self, file: &str, bytes: &[u8]) -> ControlFlow<String> {
        if file.is_empty() || file.len() > LONGEST_NAME || file.contains(['/', '\0']) {
            let start: String = file.chars().take(40).collect();
            return ControlFlow::Break(format!("{start:?} is not a name of a file"));
        }
        if !file.ends_with(".jsonl") {
            return ControlFlow::Continue(());
        }
        let mut line = self.unended.remove(file).unwrap_or_default();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if line.len() + piece.len() > LONGEST {
                return ControlFlow::Break(format!("a record is longer than {LONGEST} bytes"));
            }
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") {
                self.take(&line)?;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.unended.insert(file.to_owned(), line);
        }
        if self.unended.len() > UNENDED {
            return ControlFlow::Break(format!("more than {UNENDED} files have half a record"));
        }
        ControlFlow::Continue(())
    }

    /// Keeps a line if it is a record of a test that was given to the guest.
    fn take(&mut self, line: &[u8]) -> ControlFlow<String> {
        let Some(record) = self.expected.read(line) else {
            return ControlFlow::Continue(());
        };
        self.kept += line.len();
        let limit = FOR_ALL + FOR_EACH * self.expected.tests.len();
        if self.kept > limit {
            return ControlFlow::Break(format!("records have more than {limit} bytes"));
        }
        if let Err(error) = self.file.write_all(line) {
            self.unwritten.get_or_insert(error);
        }
        if record.outcome == Outcome::Lost {
            self.began.insert(record.test);
        } else {
            self.began.remove(&record.test);
            self.ended.insert(record.test);
        }
        ControlFlow::Continue(())
    }
}

impl Expected {
    fn read(&self, line: &[u8]) -> Option<Record> {
        let record: Record = serde_json::from_slice(line).ok()?;
        let is_ours = record.phase == Phase::Run
            && record.run == self.run
            && record.place == self.place
            && record.binary == self.binary
            && self.tests.contains(&record.test)
            && (0.0..=LONGEST_DURATION).contains(&record.duration_ms);
        is_ours.then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stage {
        records: Records,
        folder: tempfile::TempDir,
    }

    fn new_stage() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let expected = Expected {
            run: "run".into(),
            place: "vm:sid".into(),
            binary: "pkg::it".into(),
            tests: ["a", "b"].map(str::to_owned).into(),
        };
        let file = File::create(folder.path().join("kept.jsonl")).unwrap();
        let records = Records::new(expected, file);
        Stage { records, folder }
    }

    impl Stage {
        fn append(&mut self, file: &str, text: &str) -> ControlFlow<String> {
            self.records.append(file, text.as_bytes())
        }

        fn kept(&self) -> String {
            std::fs::read_to_string(self.folder.path().join("kept.jsonl")).unwrap_or_default()
        }
    }

    fn record(test: &str, outcome: &str) -> String {
        format!(
            r#"{{"schema":1,"run":"run","binary":"pkg::it","test":"{test}","place":"vm:sid","phase":"run","attempt":1,"as_uid":0,"outcome":"{outcome}","reasons":[],"issue":null,"reason":null,"signal":null,"duration_ms":1.5,"measures":{{}}}}"#
        ) + "\n"
    }

    const GO_ON: ControlFlow<String> = ControlFlow::Continue(());

    #[test]
    fn records_of_the_tests_that_were_sent_are_kept_as_they_come() {
        let mut stage = new_stage();
        let (began, ended) = (record("a", "lost"), record("a", "passed"));
        let (half, rest) = ended.split_at(40);
        assert_eq!(stage.append("it-7.jsonl", &(began.clone() + half)), GO_ON);
        assert!(stage.records.has_begun("a") && !stage.records.has_ended("a"));
        assert_eq!(stage.kept(), began);
        // Another file's records do not mix with it.
        let other = record("b", "skipped");
        assert_eq!(stage.append("it-8.jsonl", &other), GO_ON);
        assert_eq!(stage.append("it-7.jsonl", rest), GO_ON);
        assert!(!stage.records.has_begun("a") && stage.records.has_ended("a"));
        assert_eq!(stage.kept(), began + &other + &ended);
    }

    #[test]
    fn a_record_of_something_else_does_not_count() {
        let good = record("a", "passed");
        let forged = [
            record("c", "passed"),
            good.replace("pkg::it", "pkg::other"),
            good.replace("vm:sid", "here"),
            good.replace("\"run\":\"run\"", "\"run\":\"other\""),
            good.replace("\"phase\":\"run\"", "\"phase\":\"list\""),
            good.replace("1.5", "-1.0"),
            good.replace("1.5", "1e300"),
            "not json\n".to_owned(),
        ];
        for line in forged {
            let mut stage = new_stage();
            assert_eq!(stage.append("it-7.jsonl", &line), GO_ON);
            assert_eq!(stage.kept(), "", "{line}");
            let ended = ["a", "c"].map(|test| stage.records.has_ended(test));
            assert_eq!(ended, [false, false], "{line}");
        }
    }

    #[test]
    fn what_no_harness_writes_is_refused() {
        let long = "x".repeat(300) + ".jsonl";
        for name in ["../../it-7.jsonl", "/it.jsonl", "", long.as_str()] {
            let mut stage = new_stage();
            let refused = stage.append(name, &record("a", "passed"));
            assert!(refused.is_break(), "{name}");
            assert_eq!(
                std::fs::read_dir(stage.folder.path()).unwrap().count(),
                1,
                "{name}"
            );
            assert_eq!(stage.kept(), "", "{name}");
        }
        let mut stage = new_stage();
        let endless = "x".repeat(LONGEST / 2 + 1);
        assert_eq!(stage.append("it-7.jsonl", &endless), GO_ON);
        assert!(stage.append("it-7.jsonl", &endless).is_break());
    }

    #[test]
    fn neither_files_nor_records_are_without_number() {
        let mut stage = new_stage();
        let mut files = (0..).map(|n| format!("{n}.jsonl"));
        let half = |stage: &mut Stage, file: String| stage.append(&file, "x");
        assert!(
            files
                .by_ref()
                .take(UNENDED)
                .all(|file| half(&mut stage, file).is_continue())
        );
        assert!(half(&mut stage, files.next().unwrap()).is_break());

        let mut stage = new_stage();
        let line = record("a", "passed");
        let most = (FOR_ALL + 2 * FOR_EACH) / line.len();
        let refused = (0..=most).find(|_| stage.append("it-7.jsonl", &line).is_break());
        assert_eq!(refused, Some(most));
    }
}
