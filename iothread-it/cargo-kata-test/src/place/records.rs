//! Records from a guest. The guest is not trusted: only records of the batch's tests are kept, in a
//! file whose name is chosen here, and their number and length are bounded.
//!
//! Within the batch nothing is proven: a test that is root in the guest can write a record of any test
//! of its batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;

use kata_test::__runner::SCHEMA;
use kata_test_runner::{Artifacts, KernelLog, KernelWarnings, Outcome, Phase, Record};

/// The maximum length of a record, in bytes. Most take about 300.
const MAX_RECORD: usize = 64 << 10;

/// The maximum length of a file name on Linux, in bytes.
const MAX_FILE_NAME: usize = 255;

/// The maximum number of files with an incomplete record at one time. A harness writes one file; a
/// test that runs test binaries has more.
const MAX_PARTIAL_FILES: usize = 16;

/// The maximum size of all records, in bytes: per test, and in addition.
const BYTES_PER_TEST: usize = 4 << 10;
const BASE_BYTES: usize = 1 << 20;

/// The maximum duration of a test, in milliseconds: about thirty years.
const MAX_DURATION_MS: f64 = 1e12;

/// The fields that a record of a batch must have.
#[derive(Debug)]
pub(super) struct RecordFilter {
    pub(super) run: String,
    pub(super) place: String,
    pub(super) binary: String,
    pub(super) tests: BTreeSet<String>,
    /// How often one of them may run.
    pub(super) attempts: u32,
}

/// The records of a batch.
#[derive(Debug)]
pub(super) struct Records {
    filter: RecordFilter,
    /// The file that they are written to.
    file: File,
    /// The tests that have started and not ended.
    started: BTreeSet<String>,
    /// The tests that have ended.
    ended: BTreeSet<String>,
    /// Incomplete records, by the name of the guest's file.
    partial: BTreeMap<String, Vec<u8>>,
    /// What the kernel logged since the last test ended.
    kernel_log: KernelLog,
    kernel_warnings: KernelWarnings,
    /// The record of the test that has ended last.
    last: Option<Record>,
    /// The tests that failed because of a warning of the kernel, and the warning.
    failed_by_kernel: Vec<(String, String)>,
    /// The files of tests, by test and attempt.
    artifacts: BTreeMap<(String, u32), Artifacts>,
    /// The size of the kept records, in bytes.
    kept: usize,
    /// The first error of writing a record.
    write_error: Option<io::Error>,
}

impl Records {
    pub(super) fn new(filter: RecordFilter, file: File, kernel_warnings: KernelWarnings) -> Self {
        Self {
            filter,
            file,
            kernel_log: KernelLog::default(),
            kernel_warnings,
            last: None,
            failed_by_kernel: Vec::new(),
            artifacts: BTreeMap::new(),
            started: BTreeSet::new(),
            ended: BTreeSet::new(),
            partial: BTreeMap::new(),
            kept: 0,
            write_error: None,
        }
    }

    pub(super) fn has_started(&self, test: &str) -> bool {
        self.started.contains(test)
    }

    pub(super) fn has_ended(&self, test: &str) -> bool {
        self.ended.contains(test)
    }

    /// Returns whether the test that has ended last is this one and has failed.
    pub(super) fn has_failed(&self, test: &str) -> bool {
        let last = self.last.as_ref().filter(|last| last.test == test);
        last.is_some_and(|last| last.outcome.is_failure())
            || self.failed_by_kernel.iter().any(|(name, _)| name == test)
    }

    /// Returns the first error of writing a record.
    pub(super) fn write_error(&mut self) -> Option<io::Error> {
        self.write_error.take()
    }

    /// Adds files of tests whose records come next, by test and attempt.
    pub(super) fn add_artifacts(&mut self, artifacts: BTreeMap<(String, u32), Artifacts>) {
        self.artifacts.extend(artifacts);
    }

    /// Returns the files of an attempt that has no record.
    pub(super) fn take_artifacts(&mut self, test: &str, attempt: u32) -> Option<Artifacts> {
        self.artifacts.remove(&(test.to_owned(), attempt))
    }

    /// Adds bytes that were appended to a file in the guest's folder of records. Breaks with a reason if
    /// no harness writes such bytes.
    pub(super) fn append(&mut self, file: &str, bytes: &[u8]) -> ControlFlow<String> {
        if file.is_empty() || file.len() > MAX_FILE_NAME || file.contains(['/', '\0']) {
            let start: String = file.chars().take(40).collect();
            return ControlFlow::Break(format!("{start:?} is not a file name"));
        }
        if !file.ends_with(".jsonl") {
            return ControlFlow::Continue(());
        }
        let mut line = self.partial.remove(file).unwrap_or_default();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if line.len() + piece.len() > MAX_RECORD {
                return ControlFlow::Break(format!("a record is longer than {MAX_RECORD} bytes"));
            }
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") {
                self.add(&line)?;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.partial.insert(file.to_owned(), line);
        }
        if self.partial.len() > MAX_PARTIAL_FILES {
            return ControlFlow::Break(format!(
                "more than {MAX_PARTIAL_FILES} files have an incomplete record"
            ));
        }
        ControlFlow::Continue(())
    }

    /// Keeps a line if it is a record of a test of the batch.
    fn add(&mut self, line: &[u8]) -> ControlFlow<String> {
        let Some(record) = self.filter.read(line) else {
            return ControlFlow::Continue(());
        };
        self.kept += line.len();
        let attempts = self.filter.attempts as usize;
        let each = BYTES_PER_TEST.saturating_mul(attempts);
        let limit = each
            .saturating_mul(self.filter.tests.len())
            .saturating_add(BASE_BYTES);
        if self.kept > limit {
            return ControlFlow::Break(format!("records take more than {limit} bytes"));
        }
        if record.outcome == Outcome::Lost {
            // What was logged since the last test ended is not of this one.
            self.kernel_log = KernelLog::default();
            self.write_record(&record);
            self.ended.remove(&record.test);
            self.started.insert(record.test);
        } else {
            self.started.remove(&record.test);
            self.ended.insert(record.test.clone());
            self.last = Some(self.end(record));
        }
        ControlFlow::Continue(())
    }

    /// Writes the record of a test that has ended, with what the kernel logged meanwhile, and returns it.
    fn end(&mut self, mut record: Record) -> Record {
        let log = std::mem::take(&mut self.kernel_log);
        if let Some(artifacts) = self.take_artifacts(&record.test, record.attempt) {
            record.artifacts = Some(artifacts);
        }
        let outcome = record.outcome;
        record.add_kernel_log(&log, self.kernel_warnings);
        if let (true, Some(warning)) = (record.outcome != outcome, log.warning()) {
            self.failed_by_kernel
                .push((record.test.clone(), warning.to_owned()));
        }
        self.write_record(&record);
        record
    }

    fn write_record(&mut self, record: &Record) {
        let mut line = serde_json::to_vec(record).expect("a record has only string keys");
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            self.write_error.get_or_insert(error);
        }
    }

    /// Adds a message of the kernel. It belongs to the test that runs. A warning between two tests belongs to the
    /// first: its record is written again, once, and the later line counts.
    pub(super) fn kernel_message(&mut self, text: &str) {
        self.kernel_log.add_message(text);
        self.apply_late_warning();
    }

    /// Adds bits that the kernel was tainted by.
    pub(super) fn kernel_taint(&mut self, bits: u64) {
        self.kernel_log.add_taint(bits);
        self.apply_late_warning();
    }

    /// A panic is never late: it ends the guest, and is of the test that ran, whose first record may come behind it.
    fn apply_late_warning(&mut self) {
        let warning = self.kernel_log.warning();
        if self.started.is_empty()
            && warning.is_some_and(|warning| !warning.starts_with("Kernel panic"))
            && let Some(last) = self.last.take()
        {
            self.end(last);
        }
    }

    /// Returns the tests that failed because of a warning of the kernel, and the warning.
    pub(super) fn failed_by_kernel(&self) -> &[(String, String)] {
        &self.failed_by_kernel
    }
}

impl RecordFilter {
    fn read(&self, line: &[u8]) -> Option<Record> {
        // serde_json does not check the text of a field that it ignores.
        let mut record: Record = serde_json::from_str(str::from_utf8(line).ok()?).ok()?;
        // The host knows which files have come.
        record.artifacts = None;
        let is_ours = record.schema == SCHEMA
            && (1..=self.attempts).contains(&record.attempt)
            && record.phase == Phase::Run
            && record.run == self.run
            && record.place == self.place
            && record.binary == self.binary
            && self.tests.contains(&record.test)
            && (0.0..=MAX_DURATION_MS).contains(&record.duration_ms);
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
        let filter = RecordFilter {
            run: "run".into(),
            place: "vm:sid".into(),
            binary: "pkg::it".into(),
            tests: ["a", "b"].map(str::to_owned).into(),
            attempts: 2,
        };
        let file = File::create(folder.path().join("kept.jsonl")).unwrap();
        let records = Records::new(filter, file, KernelWarnings::Fail);
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

    const CONTINUE: ControlFlow<String> = ControlFlow::Continue(());

    #[test]
    fn records_of_the_batch_are_kept_in_order() {
        let mut stage = new_stage();
        let (began, ended) = (record("a", "lost"), record("a", "passed"));
        let (half, rest) = ended.split_at(40);
        assert_eq!(
            stage.append("it-7.jsonl", &(began.clone() + half)),
            CONTINUE
        );
        assert!(stage.records.has_started("a") && !stage.records.has_ended("a"));
        assert_eq!(stage.kept(), began);
        // Another file's records do not mix with it.
        let other = record("b", "skipped");
        assert_eq!(stage.append("it-8.jsonl", &other), CONTINUE);
        assert_eq!(stage.append("it-7.jsonl", rest), CONTINUE);
        assert!(!stage.records.has_started("a") && stage.records.has_ended("a"));
        assert_eq!(stage.kept(), began + &other + &ended);
    }

    #[test]
    fn a_panic_is_not_of_the_test_that_has_ended() {
        let mut stage = new_stage();
        let all = ["lost", "passed"]
            .map(|outcome| record("a", outcome))
            .concat();
        let _ = stage.append("it-7.jsonl", &all);
        for message in [
            "Kernel panic - not syncing: sysrq triggered crash",
            "CPU: 0 PID: 1",
        ] {
            stage.records.kernel_message(message);
        }
        let _ = stage.append("it-7.jsonl", &record("b", "lost"));
        assert_eq!(stage.kept(), all + &record("b", "lost"));
        assert!(!stage.records.has_failed("a") && stage.records.has_started("b"));
    }

    #[test]
    fn a_warning_of_the_kernel_fails_the_test_that_ran() {
        let mut stage = new_stage();
        let mut outcomes = Vec::new();
        for (test, warnings_at) in [("a", "running"), ("b", "ended")] {
            let _ = stage.append("it-7.jsonl", &record(test, "lost"));
            stage.records.kernel_message("up");
            if warnings_at == "running" {
                stage.records.kernel_message("BUG: one");
            }
            let _ = stage.append("it-7.jsonl", &record(test, "passed"));
            if warnings_at == "ended" {
                stage.records.kernel_taint(1 << 9);
            }
            let kept = stage.kept();
            let last: Record = serde_json::from_str(kept.lines().last().unwrap()).unwrap();
            outcomes.push((last.test, last.outcome, last.reasons.len()));
        }
        assert_eq!(
            outcomes,
            ["a", "b"].map(|test| (test.to_owned(), Outcome::Failed, 1))
        );
        // Its record is written again once, and the next test is not the cause.
        let lines = stage.kept().lines().count();
        stage.records.kernel_message("BUG: more");
        assert_eq!(stage.kept().lines().count(), lines);
        let _ = stage.append("it-7.jsonl", &record("a", "lost"));
        let _ = stage.append("it-7.jsonl", &record("a", "passed"));
        let kept = stage.kept();
        assert!(
            kept.lines().last().unwrap().contains("\"passed\""),
            "{kept}"
        );
        let failed = stage.records.failed_by_kernel();
        assert_eq!(failed[0], ("a".to_owned(), "BUG: one".to_owned()));
        assert_eq!(failed.len(), 2);
    }

    #[test]
    fn a_test_that_runs_again_has_not_ended() {
        let mut stage = new_stage();
        let second = |outcome| record("a", outcome).replace("\"attempt\":1", "\"attempt\":2");
        for (line, has_ended) in [
            (record("a", "failed"), true),
            (second("lost"), false),
            (second("flaky"), true),
        ] {
            assert_eq!(stage.append("it-7.jsonl", &line), CONTINUE);
            assert_eq!(stage.records.has_ended("a"), has_ended, "{line}");
            assert_eq!(stage.records.has_started("a"), !has_ended, "{line}");
        }
        assert_eq!(stage.kept().lines().count(), 3);
    }

    /// A file of records with such bytes could not be read as text.
    #[test]
    fn a_record_that_is_not_utf_8_is_dropped() {
        let mut stage = new_stage();
        let mut line = record("a", "passed")
            .replace("{}}", "{},\"more\":\"?\"}")
            .into_bytes();
        let at = line.iter().position(|&byte| byte == b'?').unwrap();
        line[at] = 0xff;
        assert_eq!(stage.records.append("it-7.jsonl", &line), CONTINUE);
        assert_eq!(stage.kept(), "");
        assert!(!stage.records.has_ended("a"));
    }

    #[test]
    fn a_record_that_is_not_of_the_batch_is_dropped() {
        let good = record("a", "passed");
        let forged = [
            record("c", "passed"),
            good.replace("pkg::it", "pkg::other"),
            good.replace("vm:sid", "here"),
            good.replace("\"run\":\"run\"", "\"run\":\"other\""),
            good.replace("\"phase\":\"run\"", "\"phase\":\"list\""),
            good.replace("\"schema\":1", "\"schema\":2"),
            good.replace("\"attempt\":1", "\"attempt\":0"),
            good.replace("\"attempt\":1", "\"attempt\":9"),
            good.replace("1.5", "-1.0"),
            good.replace("1.5", "1e300"),
            "not json\n".to_owned(),
        ];
        for line in forged {
            let mut stage = new_stage();
            assert_eq!(stage.append("it-7.jsonl", &line), CONTINUE);
            assert_eq!(stage.kept(), "", "{line}");
            let ended = ["a", "c"].map(|test| stage.records.has_ended(test));
            assert_eq!(ended, [false, false], "{line}");
        }
    }

    #[test]
    fn bad_file_names_and_long_records_are_refused() {
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
        let endless = "x".repeat(MAX_RECORD / 2 + 1);
        assert_eq!(stage.append("it-7.jsonl", &endless), CONTINUE);
        assert!(stage.append("it-7.jsonl", &endless).is_break());
    }

    #[test]
    fn partial_files_and_records_are_bounded() {
        let mut stage = new_stage();
        let mut files = (0..).map(|n| format!("{n}.jsonl"));
        let half = |stage: &mut Stage, file: String| stage.append(&file, "x");
        assert!(
            files
                .by_ref()
                .take(MAX_PARTIAL_FILES)
                .all(|file| half(&mut stage, file).is_continue())
        );
        assert!(half(&mut stage, files.next().unwrap()).is_break());

        let mut stage = new_stage();
        let line = record("a", "passed");
        let most = (BASE_BYTES + 2 * 2 * BYTES_PER_TEST) / line.len();
        let refused = (0..=most).find(|_| stage.append("it-7.jsonl", &line).is_break());
        assert_eq!(refused, Some(most));
    }
}
