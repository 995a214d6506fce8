//! What tests leave behind: processes and mounts, each with the tests that can have done it.
//!
//! It is said and recorded, by the test's name, and fails no test. The processes are killed, so
//! nothing stays; and of a mount nobody can say for certain who made it, since the table is the
//! whole host's: to fail a test for it would be a guess.

mod mounts;
mod processes;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::unistd::Pid;

use crate::verdict::Reason;
use mounts::{Mount, Mounts};
pub(super) use processes::command_line;
use processes::{Process, Processes};

/// How long a process may outlive its test: one that ends by itself at once was not left behind.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// Where processes are seen.
const PROCESSES: &str = "/proc";

/// A test that runs, or has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) pid: Pid,
    pub(super) name: &'static str,
}

/// What is there and was not there before.
pub(super) struct Left {
    processes: Processes,
    mounts: Mounts,
    things: Vec<Thing>,
    unclear: Vec<String>,
    /// Tests that have ended, the newest last.
    ended: Vec<Ended>,
}

struct Ended {
    suspect: Suspect,
    /// Processes of it were told of.
    told: bool,
}

struct Thing {
    what: What,
    by: Vec<Suspect>,
    /// Those of them that still run.
    running: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Process(Process),
    Mount(Mount),
}

impl Left {
    /// Begins to look: orphans come to this process from now on.
    pub(super) fn watch() -> Self {
        Self {
            processes: Processes::watch(),
            mounts: Mounts::watch(),
            things: Vec::new(),
            unclear: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// What to poll for, with priority: the table of mounts has changed.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.fd()
    }

    /// Notes that the table of mounts has changed.
    pub(super) fn mounts_changed(&mut self) {
        self.mounts.read();
    }

    /// Says whether there are mounts that were not there before.
    pub(super) fn has_new_mounts(&self) -> bool {
        self.mounts.new_ones().next().is_some()
    }

    /// Takes stock. `ours` are children that are no test.
    pub(super) fn look(&mut self, running: &[Suspect], ours: &[Pid]) {
        let mut there: Vec<(What, Vec<Suspect>)> = Vec::new();
        for (process, test) in self.processes.orphans(running, ours) {
            let by = match test {
                Some(test) => self.owner(test, running, &process),
                None => running.to_vec(),
            };
            there.push((What::Process(process), by));
        }
        if self.mounts.changed() {
            self.mounts.read();
        }
        let mounts = self.mounts.new_ones();
        there.extend(mounts.map(|mount| (What::Mount(mount.clone()), running.to_vec())));
        self.things
            .retain(|thing| there.iter().any(|(what, _)| *what == thing.what));
        for (what, by) in there {
            if by.is_empty() {
                // Its test has ended, and was told of what this comes from.
                if let What::Process(process) = what {
                    process.kill();
                }
            } else if self.things.iter().all(|thing| thing.what != what) {
                let running = by.len();
                self.things.push(Thing { what, by, running });
            }
        }
    }

    /// The test that a process is of, if it still runs.
    fn owner(&mut self, test: Pid, running: &[Suspect], process: &Process) -> Vec<Suspect> {
        let its: Vec<_> = running
            .iter()
            .filter(|suspect| suspect.pid == test)
            .copied()
            .collect();
        if !its.is_empty() {
            return its;
        }
        // What was told of can still have had children, which come to light when it is gone.
        let mut ended = self.ended.iter_mut();
        if let Some(ended) = ended.rfind(|ended| ended.suspect.pid == test) {
            if !std::mem::replace(&mut ended.told, true) {
                let name = ended.suspect.name;
                self.unclear.push(format!("{name}: {}", process.end()));
            }
        }
        its
    }

    /// Says whether a test that has ended has processes that may yet end by themselves.
    pub(super) fn lingers(&self, test: Pid) -> bool {
        let its = |thing: &&Thing| thing.by.iter().any(|suspect| suspect.pid == test);
        let mut things = self.things.iter().filter(its);
        things.any(|thing| matches!(thing.what, What::Process(_)))
    }

    /// Ends the look at a test: says what it left behind, and kills of that what is a process.
    pub(super) fn settle(&mut self, suspect: Suspect) -> Vec<Reason> {
        let test = suspect.pid;
        let mut its = Vec::new();
        for mut thing in std::mem::take(&mut self.things) {
            thing.running -= usize::from(thing.by.iter().any(|suspect| suspect.pid == test));
            if thing.running > 0 {
                self.things.push(thing);
                continue;
            }
            let reason = thing.what.settle();
            if let What::Mount(mount) = &thing.what {
                self.mounts.known(mount.clone());
            }
            match &thing.by[..] {
                [_] => its.push(reason),
                several => {
                    let names: Vec<_> = several.iter().map(|suspect| suspect.name).collect();
                    self.unclear.push(format!(
                        "{}, by one of {}",
                        reason.observed,
                        names.join(", ")
                    ));
                }
            }
        }
        let told = its.iter().any(|reason: &Reason| reason.source == PROCESSES);
        self.ended.push(Ended { suspect, told });
        its
    }

    /// Says whether processes that are no test and not `ours` are still to be waited for.
    pub(super) fn has_orphans(&self, ours: &[Pid]) -> bool {
        self.processes.has_orphans(ours)
    }

    /// What was left by one of several tests.
    pub(super) fn unclear(&self) -> &[String] {
        &self.unclear
    }
}

impl What {
    /// Ends what can be ended, and says what this is.
    fn settle(&self) -> Reason {
        let (observed, source) = match self {
            Self::Process(process) => (process.end(), PROCESSES),
            Self::Mount(mount) => (format!("mount {mount}"), "/proc/self/mountinfo"),
        };
        Reason::left_behind(observed, source)
    }
}
