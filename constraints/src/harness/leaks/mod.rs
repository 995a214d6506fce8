//! Leaks: processes and mounts that tests leave behind, each with the tests that can have left it.
//!
//! A leak is printed and recorded under the test's name, and fails no test: the table of mounts is the
//! whole host's, so the owner of a mount is never certain, and leaked processes are killed.

mod mounts;
mod processes;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::unistd::Pid;

use crate::reason::Reason;
use mounts::{Mount, Mounts};
pub(super) use processes::command_line;
use processes::{Process, Processes};

/// How long a process may outlive its test before it counts as leaked.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// The source of leaked processes.
const PROCESSES: &str = "/proc";

/// The process of a test that runs or has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TestProcess {
    pub(super) pid: Pid,
    pub(super) name: &'static str,
}

/// Finds leaks while tests run.
pub(super) struct LeakDetector {
    processes: Processes,
    mounts: Mounts,
    candidates: Vec<Candidate>,
    unattributed: Vec<String>,
    /// Tests that have ended, the newest last.
    ended: Vec<EndedTest>,
}

struct EndedTest {
    test: TestProcess,
    /// Leaked processes of it have been reported.
    reported: bool,
}

/// Something that appeared during the run and may turn out to be a leak.
struct Candidate {
    kind: LeakKind,
    tests: Vec<TestProcess>,
    /// How many of these tests still run.
    running: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LeakKind {
    Process(Process),
    Mount(Mount),
}

impl LeakDetector {
    /// Begins to watch: from now on this process adopts orphans.
    pub(super) fn watch() -> Self {
        Self {
            processes: Processes::watch(),
            mounts: Mounts::watch(),
            candidates: Vec::new(),
            unattributed: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// The descriptor to poll for priority data: the table of mounts has changed.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.fd()
    }

    /// Reads the table of mounts, which has changed.
    pub(super) fn mounts_changed(&mut self) {
        self.mounts.read();
    }

    /// Whether mounts have appeared.
    pub(super) fn has_new_mounts(&self) -> bool {
        self.mounts.new_ones().next().is_some()
    }

    /// Updates the candidates. `own` are children of the harness that belong to no test.
    pub(super) fn update(&mut self, running: &[TestProcess], own: &[Pid]) {
        let mut found: Vec<(LeakKind, Vec<TestProcess>)> = Vec::new();
        for (process, test) in self.processes.orphans(running, own) {
            let tests = match test {
                Some(test) => self.tests_of(test, running, &process),
                None => running.to_vec(),
            };
            found.push((LeakKind::Process(process), tests));
        }
        if self.mounts.changed() {
            self.mounts.read();
        }
        let mounts = self.mounts.new_ones();
        found.extend(mounts.map(|mount| (LeakKind::Mount(mount.clone()), running.to_vec())));
        self.candidates
            .retain(|known| found.iter().any(|(kind, _)| *kind == known.kind));
        for (kind, tests) in found {
            if tests.is_empty() {
                // Its test has ended, and another process of it has been reported.
                if let LeakKind::Process(process) = kind {
                    process.kill();
                }
            } else if self.candidates.iter().all(|known| known.kind != kind) {
                let running = tests.len();
                self.candidates.push(Candidate {
                    kind,
                    tests,
                    running,
                });
            }
        }
    }

    /// The test that started a process, if it still runs.
    fn tests_of(
        &mut self,
        test: Pid,
        running: &[TestProcess],
        process: &Process,
    ) -> Vec<TestProcess> {
        let tests = running.iter().filter(|running| running.pid == test);
        let tests: Vec<_> = tests.copied().collect();
        if !tests.is_empty() {
            return tests;
        }
        // The children of a leaked process are found when that is gone.
        let mut ended = self.ended.iter_mut();
        if let Some(ended) = ended.rfind(|ended| ended.test.pid == test) {
            if !std::mem::replace(&mut ended.reported, true) {
                let name = ended.test.name;
                self.unattributed.push(format!("{name}: {}", process.end()));
            }
        }
        tests
    }

    /// Whether a test that has ended has processes that may still end by themselves.
    pub(super) fn has_processes(&self, test: Pid) -> bool {
        let mut candidates = self.candidates.iter();
        candidates.any(|candidate| {
            matches!(candidate.kind, LeakKind::Process(_))
                && candidate.tests.iter().any(|process| process.pid == test)
        })
    }

    /// Ends the watch over a test: returns its leaks and kills its processes.
    pub(super) fn finish(&mut self, test: TestProcess) -> Vec<Reason> {
        let mut leaks = Vec::new();
        for mut candidate in std::mem::take(&mut self.candidates) {
            let is_of_test = candidate.tests.iter().any(|one| one.pid == test.pid);
            candidate.running -= usize::from(is_of_test);
            if candidate.running > 0 {
                self.candidates.push(candidate);
                continue;
            }
            let reason = candidate.kind.end();
            if let LeakKind::Mount(mount) = &candidate.kind {
                self.mounts.ignore(mount.clone());
            }
            match &candidate.tests[..] {
                [_] => leaks.push(reason),
                several => {
                    let names: Vec<_> = several.iter().map(|test| test.name).collect();
                    let (observed, names) = (&reason.observed, names.join(", "));
                    self.unattributed
                        .push(format!("{observed}, by one of {names}"));
                }
            }
        }
        let reported = leaks.iter().any(|leak: &Reason| leak.source == PROCESSES);
        self.ended.push(EndedTest { test, reported });
        leaks
    }

    /// Whether there are processes that are neither a test's nor the harness's `own`.
    pub(super) fn has_orphans(&self, own: &[Pid]) -> bool {
        self.processes.has_orphans(own)
    }

    /// The leaks of which the test is not certain.
    pub(super) fn unattributed(&self) -> &[String] {
        &self.unattributed
    }
}

impl LeakKind {
    /// Kills a process, and describes the leak.
    fn end(&self) -> Reason {
        match self {
            Self::Process(process) => Reason::leak(process.end(), PROCESSES),
            Self::Mount(mount) => Reason::leak(format!("mount {mount}"), "/proc/self/mountinfo"),
        }
    }
}
