//! Plans which test runs where, before any test runs.
//!
//! Each binary lists its tests with verdicts, since only it has their constraints: for this host, and for
//! other places from recorded or cached facts. It is listed in the place itself only if these do not
//! suffice and no cheaper place can run the test, and once.

mod record;
mod spread;
mod variants;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

pub use spread::Spread;
pub use variants::Fit;

use super::answer_cache::AnswerCache;
use super::error::chain;
use super::listing::Eligibility;
use super::{
    Binary, CandidatePlace, Listed, Listing, Place, PlainTest, RunnerError, Selected, StopToken,
    TestId, TestName, TestSelection, Vms,
};
use kata_test_host::constraint::{Demand, Status};
use kata_test_host::reason::Reason;

/// Whether each test can run in each place.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The places, cheapest first.
    pub places: Vec<PlannedPlace>,
    /// The tests that are known before they run.
    pub tests: Vec<PlannedTest>,
    /// In how many places each test runs.
    pub spread: Spread,
    /// How many VMs of a place run tests at once.
    pub vms: Vms,
    /// What the binaries of these tests list here, by their ids.
    pub(super) binaries: BTreeMap<String, BinaryInfo>,
    /// Binaries with another harness: the requirements of their tests are not known.
    pub opaque: Vec<String>,
}

/// What a binary lists here besides verdicts.
#[derive(Debug)]
pub(super) struct BinaryInfo {
    pub(super) steps_per_ms: f64,
    /// The questions that its constraints ask about a host.
    pub(super) questions: Vec<String>,
}

/// A place in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPlace {
    /// Its name.
    pub name: String,
    /// Whether it is a variant of another place, for tests that ask for more than that has.
    pub is_variant: bool,
    /// What it is.
    pub about: String,
    /// The release of its kernel, if it is known: `6.1.0-56-amd64`.
    pub kernel: Option<String>,
    /// About how long it takes until a first test runs there; `None` if none can.
    pub cost: Option<Duration>,
}

/// A test in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTest {
    /// Which test.
    pub id: TestId,
    /// Its constraints, in the grammar of the attribute.
    pub needs: String,
    /// What they ask of a place that can be made to measure.
    pub demand: Demand,
    /// The issue that it cites.
    pub issue: Option<String>,
    /// Why it has its constraints.
    pub reason: Option<String>,
    /// Its own time limit.
    pub limit: Option<Duration>,
    /// How often it runs again if it fails, as it states.
    pub retries: u32,
    /// Whether it needs a VM of its own.
    pub own_machine: bool,
    /// Whether it is marked `#[ignore]`.
    pub ignored: bool,
    /// Whether it can run, for each of the plan's places; empty if it is ignored.
    pub eligibilities: Vec<Eligibility>,
}

impl PlannedTest {
    /// The indices of the places to try, cheapest first: those where it can run, then those where that is
    /// unknown.
    pub fn candidates(&self) -> impl Iterator<Item = usize> {
        let of = |wanted: fn(&Eligibility) -> bool| {
            let eligibilities = self.eligibilities.iter().enumerate();
            eligibilities
                .filter(move |(_, eligibility)| wanted(eligibility))
                .map(|(index, _)| index)
        };
        of(|eligibility| eligibility.status == Status::Met)
            .chain(of(|eligibility| eligibility.is_open))
    }

    fn is_met_somewhere(&self) -> bool {
        let mut eligibilities = self.eligibilities.iter();
        eligibilities.any(|eligibility| eligibility.status == Status::Met)
    }

    /// The index of the place where it is to run.
    #[must_use]
    pub fn chosen(&self) -> Option<usize> {
        self.candidates().next()
    }
}

/// What a plan is made for.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// The binaries that may have annotated tests.
    pub binaries: &'a [Binary],
    /// The plain tests. Places are made for those that run.
    pub plain: &'a [PlainTest],
    /// Which annotated tests are planned.
    pub selection: &'a TestSelection,
    /// In how many places each test runs.
    pub spread: Spread,
    /// The folder that has the records of all runs, and what is known of places.
    pub record_root: &'a Path,
    /// When it is requested, the binary that lists its tests is killed.
    pub stop: StopToken<'a>,
}

/// Makes a plan. `candidates` get variants for what the selected tests ask for, and are sorted by their cost;
/// `progress` gets a line for each step. With [`Spread::Everywhere`] every place lists the tests whose verdict there
/// does not follow from cached facts, otherwise only those that no cheaper place can run.
///
/// # Errors
///
/// If a binary does not answer, or what is known cannot be read or written. A place that does not
/// come up is reported through `progress`, and what it lacks stays unknown. [`RunnerError::Stopped`] if it was to
/// stop.
pub fn plan(
    input: PlanInput<'_>,
    candidates: &mut Vec<CandidatePlace>,
    progress: &mut dyn FnMut(&str),
) -> Result<Plan, RunnerError> {
    let mut opaque = Vec::new();
    let mut listed = Vec::new();
    for binary in input.binaries {
        match Listing::of(binary, None, input.stop)? {
            Some(mut here) => {
                here.tests.retain(|test| input.selects(binary, test));
                listed.push((binary, here));
            }
            None => opaque.push(binary.id.clone()),
        }
    }
    let tests = listed.iter().flat_map(|(_, here)| &here.tests);
    let tests = tests.filter(|test| !test.is_ignored());
    let tests = tests.map(|test| (test.needs.clone(), test.demand.clone()));
    let plain = input.plain.iter().filter(|test| test.runs);
    let plain = plain.map(|test| (test.settings.needs(), test.settings.demand()));
    let asked: Vec<(String, Demand)> = tests.chain(plain).collect();
    let asked = asked
        .iter()
        .map(|(needs, demand)| (&**needs, demand.clone()));
    variants::add(candidates, asked);
    // Hosts that are not here cost nothing, and are asked for by name. A few seconds more or less, as
    // they are measured from run to run, are no reason to send a test somewhere else.
    let tens_of_seconds = |cost: Duration| cost.as_secs() / 10 + u64::from(!cost.is_zero());
    candidates.sort_by_key(|candidate| tens_of_seconds(candidate.cost().unwrap_or_default()));
    let mut tests = Vec::new();
    let mut known = BTreeMap::new();
    for (binary, here) in &listed {
        let lister = PlaceLister {
            binary,
            here,
            input,
        };
        tests.extend(lister.in_all(candidates, progress)?);
        let info = BinaryInfo {
            steps_per_ms: here.steps_per_ms,
            questions: lister.questions(),
        };
        known.insert(binary.id.clone(), info);
    }
    let place = |candidate: &CandidatePlace| PlannedPlace {
        name: candidate.name().to_owned(),
        is_variant: candidate.base_name() != candidate.name(),
        about: candidate.about(),
        kernel: candidate.kernel(),
        cost: candidate.cost(),
    };
    Ok(Plan {
        places: candidates.iter().map(place).collect(),
        tests,
        spread: input.spread,
        vms: Vms::default(),
        binaries: known,
        opaque,
    })
}

impl<'a> PlanInput<'a> {
    /// All annotated tests of these binaries, each in the first place that has what it needs.
    #[must_use]
    pub fn new(binaries: &'a [Binary], record_root: &'a Path) -> Self {
        static ALL: LazyLock<TestSelection> = LazyLock::new(TestSelection::default);
        Self {
            binaries,
            plain: &[],
            selection: &ALL,
            spread: Spread::First,
            record_root,
            stop: StopToken::NEVER,
        }
    }

    fn selects(&self, binary: &Binary, test: &Listed) -> bool {
        let name = TestName::new(&binary.id, &test.test, test.is_ignored().then_some(""));
        self.selection.selects(&name, test.is_ignored()) != Selected::No
    }
}

/// Lists the tests of a binary in each place, from its list here.
struct PlaceLister<'a> {
    binary: &'a Binary,
    here: &'a Listing,
    input: PlanInput<'a>,
}

impl PlaceLister<'_> {
    fn in_all(
        &self,
        candidates: &mut [CandidatePlace],
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<PlannedTest>, RunnerError> {
        let planned = |test: &Listed| PlannedTest {
            id: TestId::new(&*self.binary.id, &*test.test),
            needs: test.needs.clone(),
            demand: test.demand.clone(),
            issue: test.issue.clone(),
            reason: test.reason.clone(),
            limit: test
                .timeout_ms
                .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()),
            retries: test.retries,
            own_machine: test.own_machine,
            ignored: test.is_ignored(),
            eligibilities: Vec::new(),
        };
        let mut tests: Vec<PlannedTest> = self.here.tests.iter().map(planned).collect();
        for candidate in candidates {
            let fit = |test: &PlannedTest| candidate.fit(&test.needs, &test.demand);
            let fits: Vec<Fit> = tests.iter().map(fit).collect();
            let refusal = |test: &PlannedTest| candidate.refuses(&test.id, &test.needs);
            let refusals: Vec<Option<Reason>> = tests.iter().map(refusal).collect();
            let settled = |name: &str| {
                let mut known = tests.iter().zip(&fits).zip(&refusals);
                let known = known.find(|((test, _), _)| test.id.test == name);
                known.is_some_and(|((test, fit), refusal)| {
                    *fit != Fit::Fits
                        || refusal.is_some()
                        || self.input.spread == Spread::First && test.is_met_somewhere()
                })
            };
            let listing = match candidate {
                CandidatePlace::Here => None,
                CandidatePlace::Recorded(host) => Some(Listing::of(
                    self.binary,
                    Some(&host.facts),
                    self.input.stop,
                )?),
                CandidatePlace::Place(place) => {
                    Some(self.in_place(place.as_mut(), &settled, progress)?)
                }
            };
            let planned = tests.iter_mut().zip(fits).zip(refusals);
            for ((test, fit), refusal) in planned.filter(|((test, _), _)| !test.ignored) {
                let eligibility = match &listing {
                    _ if fit != Fit::Fits => Eligibility::unfit(fit),
                    None => eligibility_in(self.here, &test.id.test),
                    Some(Some(listing)) => eligibility_in(listing, &test.id.test),
                    Some(None) => Eligibility::unknown(),
                };
                let eligibility = eligibility.unless(refusal);
                test.eligibilities.push(eligibility);
            }
        }
        Ok(tests)
    }

    /// Lists the tests for a place: from cached facts, or in the place if these do not suffice.
    fn in_place(
        &self,
        place: &mut dyn Place,
        settled: &dyn Fn(&str) -> bool,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<Listing>, RunnerError> {
        let questions = self.questions();
        let known = match place.key() {
            Some(key) => Some(AnswerCache::open(self.input.record_root, &key, &questions)?),
            None => None,
        };
        let recording = match &known {
            Some(known) => known.recording(&self.here.facts)?,
            None => None,
        };
        let kept = match recording {
            Some(recording) => Listing::of(self.binary, Some(&recording), self.input.stop)?,
            None => None,
        };
        let is_open = |test: &&Listed| {
            let eligibility = kept.as_ref().map(|kept| eligibility_in(kept, &test.test));
            !settled(&test.test)
                && !test.is_ignored()
                && eligibility.is_none_or(|eligibility| eligibility.is_open)
        };
        if !self.here.tests.iter().any(|test| is_open(&test)) {
            return Ok(kept);
        }
        let cached = known.as_ref();
        if let Some(list) = cached.and_then(|known| known.list(self.binary, &questions)) {
            return Ok(Some(list));
        }
        progress(&format!(
            "listing in {} the tests of {}",
            place.name(),
            self.binary.id
        ));
        let listed = place.list(self.binary, &questions, self.input.stop);
        let listed = listed.and_then(|text| Ok((Listing::parse(&text)?, text)));
        let (listing, text) = match listed {
            Ok(listed) => listed,
            Err(_) if self.input.stop.is_requested() => return Err(RunnerError::Stopped),
            Err(error) => {
                progress(&format!(
                    "{} cannot list tests: {}",
                    place.name(),
                    chain(&*error)
                ));
                return Ok(kept);
            }
        };
        if let Some(known) = known {
            known.learn(self.binary, &questions, &text, &listing)?;
        }
        Ok(Some(listing))
    }

    /// The questions that the constraints ask here.
    fn questions(&self) -> Vec<String> {
        let questions = self.here.facts.iter().map(|fact| fact.question.clone());
        questions.collect()
    }
}

/// Whether constraints in the attribute's grammar are about KVM, such as `kvm_cap` or `device /dev/kvm`.
pub(crate) fn needs_kvm(needs: &str) -> bool {
    needs.contains("kvm")
}

/// Whether constraints, as a plan shows them, may have alternatives.
pub(crate) fn has_alternatives(needs: &str) -> bool {
    needs.contains("any(")
}

/// Whether constraints, as a plan shows them, mention `root`.
pub(crate) fn needs_root(needs: &str) -> bool {
    words(needs).any(|word| word == "root" || word == "uid 0")
}

/// The atoms of constraints, as a plan shows them.
pub(crate) fn words(needs: &str) -> impl Iterator<Item = &str> {
    needs.split([',', '(', ')']).map(str::trim)
}

fn eligibility_in(listing: &Listing, test: &str) -> Eligibility {
    let listed = listing.tests.iter().find(|listed| listed.test == test);
    listed
        .and_then(Listed::eligibility)
        .unwrap_or_else(Eligibility::unknown)
}
