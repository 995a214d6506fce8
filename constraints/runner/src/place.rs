//! Places where test binaries can run.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dispatch::records_of;
use super::plan::{has_alternatives, needs_kvm};
use super::{
    Binary, DEFAULT_LIMIT, Fit, Outcome, Run, Session, StopToken, TestId, TestName, UserKind,
};
use kata_test::__runner::HERE;
use kata_test_host::constraint::Demand;
use kata_test_host::facts::{Finding, Here, Host, Question};
use kata_test_host::reason::Reason;

/// The end of the name of a place that is only for tests that need KVM: `vm:bookworm+kvm`.
pub const KVM_SUFFIX: &str = "+kvm";

/// Why a place could not be used.
pub type PlaceError = Box<dyn std::error::Error + Send + Sync>;

/// A place other than this host as the current user: facts, and a way to run a test binary there.
pub trait Place: Send {
    /// Returns its name, as in records: `vm:bookworm`.
    fn name(&self) -> &str;

    /// Returns the name of the place that it is a variant of, or its own: `vm:bookworm` of `vm:bookworm+kvm`. Where
    /// the configuration names that place, it means the variants too.
    fn base_name(&self) -> &str {
        self.name()
    }

    /// Returns the places that this one becomes for tests which ask for more than it has, such as larger VMs, as
    /// few as possible.
    fn variants(&self, demands: &[&Demand]) -> Vec<Box<dyn Place>> {
        let _ = demands;
        Vec::new()
    }

    /// Returns whether it is for tests that ask for this. A place that cannot be varied is: the verdicts on their
    /// constraints there decide.
    fn fit(&self, demand: &Demand) -> Fit {
        let _ = demand;
        Fit::Fits
    }

    /// Describes it: `a VM with kernel 6.1.0-56-cloud-amd64, as root`.
    fn about(&self) -> String;

    /// Returns the release of its kernel, if it is known: `6.1.0-56-amd64`.
    fn kernel(&self) -> Option<String> {
        None
    }

    /// Returns about how long it takes until the first test runs there.
    fn cost(&self) -> Duration;

    /// Returns whether it is only for tests that need KVM: others would be slower there.
    fn is_for_kvm(&self) -> bool {
        false
    }

    /// Returns whether root there is root in a user namespace, which may do less than root of a host. A plain test
    /// that fails there is tried in other places.
    fn is_user_namespace(&self) -> bool {
        false
    }

    /// Returns why the place does not take a test with these constraints, in the grammar of the attribute,
    /// although they may be met there.
    fn refuses(&self, test: &TestName<'_>, needs: &str) -> Option<Reason> {
        let _ = (test, needs);
        None
    }

    /// Returns the file name under which its facts are cached. It has to change whenever they may. `None`:
    /// they are not cached.
    fn key(&self) -> Option<String>;

    /// Lists a binary's tests there with their verdicts: what it prints for
    /// [`LIST_ARGUMENTS`](super::LIST_ARGUMENTS). No test runs.
    ///
    /// `questions` are the questions that the binary's tests lead to, such as `module dummy`, so that
    /// the place can provide what it has. When the run is to `stop` it returns soon.
    ///
    /// # Errors
    ///
    /// If the place does not come up, or the binary does not end there with success.
    fn list(
        &mut self,
        binary: &Binary,
        questions: &[String],
        stop: StopToken<'_>,
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

    /// Returns whether processes of one binary can run there as this kind of user.
    fn runs_as(&self, user: UserKind) -> bool {
        let _ = user;
        true
    }

    /// Prepares the place for processes of one binary, which run as this kind of user.
    ///
    /// # Errors
    ///
    /// If the place does not come up, or cannot run processes as that user.
    fn open<'a>(
        &'a mut self,
        binary: &'a Binary,
        user: UserKind,
        stop: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        let _ = (binary, stop);
        Err(format!("{} cannot run single processes as {user}", self.name()).into())
    }

    /// Releases resources of this host, such as memory, until the next call.
    fn rest(&mut self) {}

    /// Returns a further instance that can be used at the same time, if there can be one: another VM of the
    /// same name. It may turn out not to come up for lack of memory.
    fn another(&self) -> Option<Box<dyn Place>> {
        None
    }

    /// Returns whether the place came up before, as it is now. Further instances then start with the first, not
    /// after it.
    fn has_started(&self) -> bool {
        false
    }
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
    pub questions: &'a [String],
    /// How many steps of work are done in a millisecond by this binary where its time limits are
    /// meant.
    pub steps_per_ms: f64,
    /// Tells it to stop.
    pub stop: StopToken<'a>,
}

/// How long the harness may take around all tests.
const AROUND: Duration = Duration::from_secs(120);

impl Job<'_> {
    /// The arguments of the binary on this host.
    pub(super) fn arguments(&self) -> Vec<String> {
        let names = self.tests.iter().map(|test| test.name.clone());
        std::iter::once("--exact".to_owned()).chain(names).collect()
    }

    /// How long the tests may take on this host, one after the other.
    pub(super) fn limit(&self) -> Duration {
        let limits = self.tests.iter().map(JobTest::whole_limit);
        let limits = limits.fold(Duration::ZERO, Duration::saturating_add);
        limits.saturating_add(AROUND)
    }

    /// Records that the tests without a record have failed: their process ended in this way.
    pub(super) fn record_silent(
        &self,
        place: &str,
        end: &dyn fmt::Display,
    ) -> Result<(), PlaceError> {
        if self.stop.is_requested() {
            return Ok(());
        }
        let records = records_of(self.run, place, &self.binary.id)?;
        let silent = |name: &str| records.get(name).is_none_or(|kind| *kind == Outcome::Lost);
        for test in self.tests.iter().filter(|test| silent(&test.name)) {
            let id = TestId::new(&*self.binary.id, &*test.name);
            let observed = format!("no record of this test: {end}");
            let reason = Reason::infrastructure(observed, place);
            self.run.record_failure(place, &id, reason, None)?;
        }
        Ok(())
    }
}

/// A test to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTest {
    /// Its name.
    pub name: String,
    /// Its own time limit, as it is meant.
    pub limit: Option<Duration>,
    /// How often it may run, each time within that limit.
    pub attempts: u32,
    /// Whether it needs a VM of its own.
    pub own_machine: bool,
}

impl JobTest {
    /// Returns how long all its attempts may take, before the limit is scaled for a place.
    #[must_use]
    pub fn whole_limit(&self) -> Duration {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        limit.saturating_mul(self.attempts)
    }
}

/// A place that a plan can choose.
pub enum CandidatePlace {
    /// This host, as the user that we are. Cargo runs the tests.
    Here,
    /// A host that is not here, by its recorded answers. No test runs there.
    Recorded(RecordedHost),
    /// Another place.
    Place(Box<dyn Place>),
}

impl CandidatePlace {
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
            Self::Here => "this host, as the current user".to_owned(),
            Self::Recorded(host) => format!("a host recorded in {}", host.facts.display()),
            Self::Place(place) => place.about(),
        }
    }

    /// Returns the release of its kernel, if it is known.
    #[must_use]
    pub fn kernel(&self) -> Option<String> {
        match self {
            Self::Here => match &Here.ask(Question::KernelRelease).finding {
                Finding::Is(release) => Some(release.to_string()),
                Finding::Absent(_) | Finding::Unknown(_) => None,
            },
            Self::Recorded(_) => None,
            Self::Place(place) => place.kernel(),
        }
    }

    /// Returns whether it is for tests that need KVM, and ask for no more.
    pub(super) fn is_for_kvm(&self) -> bool {
        let asks_for_no_more = |place: &dyn Place| place.fit(&Demand::default()) == Fit::Fits;
        matches!(self, Self::Place(place) if place.is_for_kvm() && asks_for_no_more(&**place))
    }

    /// Returns the name of the place that it is a variant of, or its own.
    #[must_use]
    pub fn base_name(&self) -> &str {
        match self {
            Self::Place(place) => place.base_name(),
            Self::Here | Self::Recorded(_) => self.name(),
        }
    }

    /// Returns whether it is for tests with these constraints, which ask for this. A place that is made for nothing
    /// is for those with alternatives, too: it may meet another than the one that asks, and the verdict there decides.
    pub(super) fn fit(&self, needs: &str, demand: &Demand) -> Fit {
        match self {
            Self::Place(place) if place.is_for_kvm() && !needs_kvm(needs) => Fit::ForOthers,
            Self::Place(place) => match place.fit(demand) {
                Fit::ForOthers | Fit::Lacks(_)
                    if has_alternatives(needs) && place.fit(&Demand::default()) == Fit::Fits =>
                {
                    Fit::Fits
                }
                fit => fit,
            },
            Self::Here | Self::Recorded(_) => Fit::Fits,
        }
    }

    /// Returns why it does not take a test with these constraints, although they may be met there.
    pub(super) fn refuses(&self, test: &TestId, needs: &str) -> Option<Reason> {
        let Self::Place(place) = self else {
            return None;
        };
        place.refuses(&TestName::new(&test.binary, &test.test, None), needs)
    }

    /// Returns whether root there is root in a user namespace.
    pub(super) fn is_user_namespace(&self) -> bool {
        matches!(self, Self::Place(place) if place.is_user_namespace())
    }

    /// Releases its resources until the next call.
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

impl fmt::Debug for CandidatePlace {
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
