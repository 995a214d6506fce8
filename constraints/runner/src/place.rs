//! Where a test binary can be run, or at least judged.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Binary, Run, Stop};
use kata_test::__runner::HERE;

/// Why a place could not be used.
pub type PlaceError = Box<dyn std::error::Error + Send + Sync>;

/// Another place than this host as its user finds it: a set of answers, and a way to run a test
/// binary there.
pub trait Place {
    /// Its name, which stands in the records: `vm:bookworm`.
    fn name(&self) -> &str;

    /// What it is, in words: `a VM with kernel 6.1.0-56-cloud-amd64, as root`.
    fn about(&self) -> String;

    /// About how long it takes until a first test runs there.
    fn cost(&self) -> Duration;

    /// What its answers depend on, all of it, as the name of a file: they are asked in the place once
    /// and kept under this name. `None`: on more than can be named, so each plan asks again.
    fn key(&self) -> Option<String>;

    /// Has a binary list its tests there, with their verdicts: what it prints for
    /// [`LIST_ARGUMENTS`](super::LIST_ARGUMENTS). No test runs.
    ///
    /// `wishes` are the questions that the binary's tests lead to, such as `module dummy`, so that
    /// the place can provide what it has. When the run is to `stop` it returns soon.
    ///
    /// # Errors
    ///
    /// If the place does not come up, or the binary does not end there with success.
    fn list(
        &mut self,
        binary: &Binary,
        wishes: &[String],
        stop: Stop<'_>,
    ) -> Result<String, PlaceError>;

    /// Runs tests there, with their records put into the run's folder, each as it comes. A test that
    /// takes the place with it has failed, and a record says so; the tests after it run all the same.
    ///
    /// # Errors
    ///
    /// If the place does not come up. Tests without a record have then not been run.
    ///
    /// When the run is [to stop](Job::stop) it returns soon, with whatever records there are.
    fn run(&mut self, job: &Job<'_>, screen: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError>;

    /// Gives back what it holds of this host, such as memory: nothing is asked of it for a while.
    fn rest(&mut self) {}
}

/// Tests of one binary to be run in a place.
#[derive(Debug)]
pub struct Job<'a> {
    /// The binary.
    pub binary: &'a Binary,
    /// The tests.
    pub tests: Vec<JobTest>,
    /// The run that they belong to.
    pub run: &'a Run,
    /// The questions that the binary's tests lead to.
    pub wishes: &'a [String],
    /// How many steps of work are done in a millisecond by this binary where its time limits are
    /// meant.
    pub steps_per_ms: f64,
    /// Tells it to stop.
    pub stop: Stop<'a>,
}

/// A test to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTest {
    /// Its name.
    pub name: String,
    /// Its own time limit, as it is meant.
    pub limit: Option<Duration>,
    /// Whether a place that makes machines is to make one for it alone.
    pub own_machine: bool,
}

/// What a plan chooses from.
pub enum Site {
    /// This host, as the user that we are. Cargo runs the tests.
    Here,
    /// A host that is not here, by its recorded answers. No test runs there.
    Recorded(RecordedHost),
    /// Another place.
    Place(Box<dyn Place>),
}

impl Site {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Here => HERE,
            Self::Recorded(host) => &host.name,
            Self::Place(place) => place.name(),
        }
    }

    /// Says what it is.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::Here => "this host, as the user who asks".to_owned(),
            Self::Recorded(host) => format!("a host recorded in {}", host.facts.display()),
            Self::Place(place) => place.about(),
        }
    }

    /// Nothing is asked of it for a while.
    pub fn rest(&mut self) {
        if let Self::Place(place) = self {
            place.rest();
        }
    }

    /// Returns about how long it takes until a first test runs there, if tests can be run there.
    #[must_use]
    pub fn cost(&self) -> Option<Duration> {
        match self {
            Self::Here => Some(Duration::ZERO),
            Self::Recorded(_) => None,
            Self::Place(place) => Some(place.cost()),
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host that is not here, by its recorded answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedHost {
    pub(super) name: String,
    pub(super) facts: PathBuf,
}

impl RecordedHost {
    /// Takes a host by what `cargo kata-test facts --json` has printed there. The file's name without
    /// its ending is the host's.
    #[must_use]
    pub fn new(facts: &Path) -> Self {
        let name = facts.file_stem().map(OsStr::to_string_lossy);
        Self {
            name: name.unwrap_or_default().into_owned(),
            // A binary is asked in its package's folder.
            facts: std::path::absolute(facts).unwrap_or_else(|_| facts.to_owned()),
        }
    }
}
