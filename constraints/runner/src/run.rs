//! A run: its id and its folder of records.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::artifacts::ArtifactsRoots;
use super::ledger::NOWHERE;
use super::merge::SCHEDULED;
use super::outputs::{self, replace};
use super::report::Report;
use super::run_info::RunInfo;
use super::secrets::SecretValues;
use super::{
    Artifacts, Attempts, Binary, ExpectedDurations, KernelWarnings, Ledger, PlannedTest,
    ProcessEnd, Record, RunnerError, Secrets, TestId, UnknownOptIn, opt_ins, summary,
};
use kata_test::__runner::{
    ARTIFACTS_FOLDER, ArtifactsFolder, BINARY_IDS, Folder, HERE, LIFELINE, Outcome, Phase,
    make_root, point_latest, prune, run_folder,
};
use kata_test_host::reason::Reason;

/// A run: its id and its folder of records.
#[derive(Debug)]
pub struct Run {
    id: String,
    root: PathBuf,
    folder: Folder,
    /// Handed down to every child. It hangs up when this process is gone, however it went.
    lifeline: PipeReader,
    /// The other end: kept here alone, and never written to. `None` once the run is to stop.
    lifeline_end: Option<PipeWriter>,
    attempts: Attempts,
    kernel_warnings: KernelWarnings,
    /// Whether guests of failed tests are saved, and how many more.
    saves_guests: bool,
    saved_guests_left: AtomicUsize,
    artifacts: ArtifactsRoots,
    secrets: SecretValues,
    /// Whether the job's summary has this run already.
    is_in_summary: AtomicBool,
}

fn lifeline() -> io::Result<(PipeReader, PipeWriter)> {
    let (read, write) = io::pipe()?;
    fcntl(&read, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok((read, write))
}

impl Run {
    /// Makes `runs/<id>/` below `record_root`, which in a workspace is `target/kata-test`, and points
    /// `latest` at it.
    ///
    /// # Errors
    ///
    /// If the folder or the link cannot be made.
    pub fn start(record_root: &Path) -> Result<Self, RunnerError> {
        let made = make_root(record_root);
        // Test processes may have another working directory.
        let made = made.and_then(|_| make_root(&fs::canonicalize(record_root)?));
        let root = made.map_err(RunnerError::io("create", record_root))?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (millis, pid) = (since_epoch.as_millis(), std::process::id());
        let mut count = 0;
        let (id, folder) = loop {
            let id = format!("{millis}-{pid}-{count}");
            let made = run_folder(&root, &id);
            match made.map_err(RunnerError::io(
                "create",
                &root.path().join("runs").join(&id),
            ))? {
                (folder, true) => break (id, folder),
                (_, false) => count += 1,
            }
        };
        let latest = root.path().join("latest");
        point_latest(&root, &id).map_err(RunnerError::io("write", &latest))?;
        prune(&root);
        RunInfo::now().write(&folder)?;
        let (lifeline, end) = lifeline().map_err(RunnerError::Lifeline)?;
        Ok(Self {
            id,
            root: root.path().to_owned(),
            folder,
            lifeline,
            lifeline_end: Some(end),
            attempts: Attempts::default(),
            kernel_warnings: KernelWarnings::default(),
            saves_guests: false,
            saved_guests_left: AtomicUsize::new(0),
            artifacts: ArtifactsRoots::default(),
            secrets: SecretValues::default(),
            is_in_summary: AtomicBool::new(false),
        })
    }

    /// Returns the environment variables of the test processes.
    ///
    /// With it they also end when this value is dropped, or this process is killed: whatever
    /// stands between, such as cargo, would let them go on.
    pub fn env(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        [
            ("KATA_TEST_RUN", self.id.clone().into()),
            ("KATA_TEST_RECORD_DIR", self.root.clone().into()),
            (LIFELINE, self.lifeline.as_raw_fd().to_string().into()),
        ]
        .into_iter()
        .chain(self.attempts.variables())
    }

    /// Sets how often its tests run, and in which order.
    pub fn set_attempts(&mut self, attempts: Attempts) {
        self.attempts = attempts;
    }

    /// Returns how often its tests run, and in which order.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        self.attempts
    }

    /// Sets what to do about warnings of the kernel of a place.
    pub fn set_kernel_warnings(&mut self, warnings: KernelWarnings) {
        self.kernel_warnings = warnings;
    }

    /// Sets which variables of this process and of these binaries are secrets. Their values are not recorded.
    pub fn set_secrets(&mut self, secrets: &Secrets, binaries: &[Binary]) {
        let here = std::env::vars_os().map(|(name, value)| (name.into(), value.into()));
        let own = binaries.iter().flat_map(|binary| &binary.env);
        let own = own.map(|(name, value)| (name.into(), value.into()));
        self.secrets = secrets.values_of(here.chain(own));
    }

    /// Returns what to do about warnings of the kernel of a place.
    #[must_use]
    pub fn kernel_warnings(&self) -> KernelWarnings {
        self.kernel_warnings
    }

    /// Saves the guests of this many tests that fail.
    pub fn save_guests(&mut self, most: usize) {
        self.saves_guests = true;
        self.saved_guests_left = AtomicUsize::new(most);
    }

    /// Returns whether guests of failed tests are saved.
    #[must_use]
    pub fn saves_guests(&self) -> bool {
        self.saves_guests
    }

    /// Returns whether another guest is to be saved, and counts it.
    #[must_use]
    pub fn claim_saved_guest(&self) -> bool {
        let relaxed = Ordering::Relaxed;
        let one_less = |left: usize| left.checked_sub(1);
        let claimed = self
            .saved_guests_left
            .fetch_update(relaxed, relaxed, one_less);
        claimed.is_ok()
    }

    /// Closes the lifeline, so that the harnesses of this run end their tests.
    pub(super) fn hang_up(&mut self) {
        self.lifeline_end = None;
    }

    /// Returns the folder of this run's records.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Opens a file of this run's folder to append records to it, and creates it if need be. If this
    /// process is root and the folder is another user's, so is the file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn append(&self, name: &str) -> Result<File, RunnerError> {
        let file = self.folder.append(name);
        file.map_err(RunnerError::io("write", &self.dir().join(name)))
    }

    /// Makes the folder for the files of an attempt of a test in a place.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn artifacts_folder(
        &self,
        place: &str,
        test: &TestId,
        attempt: u32,
    ) -> Result<ArtifactsFolder, RunnerError> {
        let made = self.artifacts.make(&self.folder, place, test, attempt);
        made.map_err(RunnerError::io("write", &self.dir().join(ARTIFACTS_FOLDER)))
    }

    /// Writes a file for the test processes, and returns its path.
    pub(super) fn keep(&self, name: &str, content: &[u8]) -> Result<OsString, RunnerError> {
        replace(&self.folder, name, content)?;
        Ok(self.dir().join(name).into_os_string())
    }

    /// States the ids of the binaries that cargo is about to run, and returns what they have to find
    /// in their environment to know theirs.
    ///
    /// # Errors
    ///
    /// If an executable is not there, or they cannot be written.
    pub fn name_binaries(
        &self,
        binaries: &[Binary],
    ) -> Result<(&'static str, OsString), RunnerError> {
        let mut lines = Vec::new();
        for binary in binaries {
            let executable = fs::canonicalize(&binary.executable);
            let executable = executable.map_err(RunnerError::io("find", &binary.executable))?;
            let path = executable.as_os_str().as_bytes();
            lines.extend([binary.id.as_bytes(), b"\t", path, b"\0"].concat());
        }
        Ok((BINARY_IDS, self.keep("binary-ids", &lines)?))
    }

    /// Returns how long tests are expected to run, from the outcomes of earlier runs.
    #[must_use]
    pub fn expected_durations(&self) -> ExpectedDurations {
        ExpectedDurations::of_earlier_runs(&self.root)
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Records the environment of the tests for the report: `QEMU 9.2.4, kernel 6.12`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn describe(&self, with: &str) -> Result<(), RunnerError> {
        self.update_info(|about| with.clone_into(&mut about.with))
    }

    /// Changes what is known of the run.
    pub(super) fn update_info(&self, change: impl FnOnce(&mut RunInfo)) -> Result<(), RunnerError> {
        let mut about = RunInfo::read(self.dir())?;
        change(&mut about);
        about.write(&self.folder)
    }

    /// Records that a test has failed whose harness has recorded no result, with the files that it left.
    ///
    /// # Errors
    ///
    /// If the record cannot be written.
    pub fn record_failure(
        &self,
        place: &str,
        test: &TestId,
        why: Reason,
        artifacts: Option<Artifacts>,
    ) -> Result<(), RunnerError> {
        self.write(&Record {
            outcome: Outcome::Failed,
            reasons: vec![why],
            artifacts,
            ..self.record_of(place, test)
        })
    }

    /// Records that no place could run a test, for these reasons.
    pub(super) fn record_nowhere(
        &self,
        test: &PlannedTest,
        why: Vec<Reason>,
    ) -> Result<(), RunnerError> {
        self.write(&Record {
            outcome: Outcome::Nowhere,
            ..self.record_of_unrun(NOWHERE, test, why)
        })
    }

    /// Records that nothing ran a binary under another harness, which only this host can.
    pub(super) fn record_binary_nowhere(&self, binary: &str) -> Result<(), RunnerError> {
        let why = Reason::infrastructure(
            "the binary has another harness, and the places to run in exclude this host",
            "plan",
        );
        self.write(&Record {
            outcome: Outcome::Nowhere,
            reasons: vec![why],
            ..self.record_of(NOWHERE, &TestId::new(binary, "main"))
        })
    }

    /// Records that a test cannot run in a place, as its binary has said without running it.
    pub(super) fn record_skip(
        &self,
        place: &str,
        test: &PlannedTest,
        why: &[Reason],
    ) -> Result<(), RunnerError> {
        self.write(&Record {
            phase: Phase::List,
            outcome: Outcome::Skipped,
            ..self.record_of_unrun(place, test, why.to_vec())
        })
    }

    /// Records that a test is about to run in a place.
    pub(super) fn record_scheduled(&self, place: &str, test: &TestId) -> Result<(), RunnerError> {
        self.write(&Record {
            attempt: SCHEDULED,
            ..self.record_of(place, test)
        })
    }

    /// A record of a test whose user is not known.
    fn record_of(&self, place: &str, test: &TestId) -> Record {
        Record {
            as_uid: 0,
            ..Record::of(&self.id, test, place)
        }
    }

    fn record_of_unrun(&self, place: &str, test: &PlannedTest, why: Vec<Reason>) -> Record {
        Record {
            reasons: why,
            issue: test.issue.clone(),
            reason: test.reason.clone(),
            ..self.record_of(place, &test.id)
        }
    }

    /// Writes a record.
    pub(super) fn write(&self, record: &Record) -> Result<(), RunnerError> {
        const FILE: &str = "runner.jsonl";
        let mut record = record.clone();
        self.secrets.hide_in(&mut record);
        let line = serde_json::to_string(&record);
        let line = line.expect("a record has text keys and finite numbers") + "\n";
        let written = self.append(FILE)?.write_all(line.as_bytes());
        written.map_err(RunnerError::io("write", &self.dir().join(FILE)))
    }

    /// Records the outcome of a binary with a harness of its own, which is run as a whole.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn record_main(
        &self,
        binary: &str,
        end: &ProcessEnd,
        took: Duration,
    ) -> Result<(), RunnerError> {
        let mut record = Record::of(&self.id, &TestId::new(binary, "main"), HERE);
        record.outcome = match end {
            ProcessEnd::Stopped => return Ok(()),
            ProcessEnd::Exited(0) => Outcome::Passed,
            ProcessEnd::TimedOut(_) => Outcome::TimedOut,
            _ => Outcome::Failed,
        };
        record.duration_ms = took.as_secs_f64() * 1e3;
        if record.outcome != Outcome::Passed {
            record.reasons = vec![Reason::infrastructure(end.to_string(), "its process")];
        }
        self.write(&record)
    }

    /// Returns which opt-ins of a list such as `slow,destructive`, the value of `KATA_TEST_ALLOW`,
    /// no test of this run needs. To be asked after the binaries have run: each declares its own.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn unknown_opt_ins(&self, allowed: &str) -> Result<Vec<UnknownOptIn>, RunnerError> {
        opt_ins::unknown(self.dir(), allowed)
    }

    /// Reads every record of the run, settles on one outcome for each test, in the order of binary
    /// and test, or for each test and place if each test runs in every place, and writes these to `outcomes.jsonl`, `junit.xml`, `summary.md` and `report.html` in
    /// the run's folder. On GitHub the summary is also added to the job's own.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or if a line other than a file's last is no record.
    pub fn merge(&self) -> Result<Vec<Record>, RunnerError> {
        self.artifacts.remove_empty();
        let report = Report::of_run(self.dir())?;
        outputs::write(&report, &self.folder)?;
        if !self.is_in_summary.swap(true, Ordering::Relaxed) {
            summary::append_github_summary(&report.ledger)?;
        }
        Ok(report.ledger.outcomes())
    }

    /// Reads every record of the run as a ledger: each test in each place.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or if a line other than a file's last is no record.
    pub fn ledger(&self) -> Result<Ledger, RunnerError> {
        Ok(Report::of_run(self.dir())?.ledger)
    }
}
