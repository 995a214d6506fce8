//! Runs tests in other places than this host, each in the first of its places where it can run, or in each of
//! them.

mod shares;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;

use super::error::chain;
use super::ledger::plural;
use super::merge::{SCHEDULED, read};
use super::{
    Attempts, Binary, CandidatePlace, Job, JobTest, Outcome, Phase, Plan, PlannedTest, Record, Run,
    RunnerError, Spread, StopToken, TestId,
};
use kata_test::__runner::{EXCLUDE_FILE, HERE};
use kata_test_host::constraint::Status;
use kata_test_host::reason::Reason;
use shares::run_job;

/// A test that has not run yet, and the places left to try.
struct Pending<'a> {
    test: &'a PlannedTest,
    places: VecDeque<usize>,
    /// Whether a place has run it.
    ran: bool,
    /// Why the last place did not come up.
    broken: Option<(usize, String)>,
}

/// Gets the progress of a run, and can stop it.
pub struct Reporter<'a> {
    /// Gets a line for each step.
    pub progress: &'a mut dyn FnMut(&str),
    /// Gets the output of test binaries as they write it.
    pub output: &'a mut dyn FnMut(&[u8]),
    /// Stops the run, together with what runs in a place.
    pub stop: StopToken<'a>,
}

impl Plan {
    /// Records that tests are about to run, here or elsewhere, so that none is missed if nothing more
    /// comes of this run, and returns what the binaries here have to find in their environment to
    /// leave the others.
    ///
    /// # Errors
    ///
    /// If the records cannot be written.
    pub fn exclude_elsewhere(
        &self,
        candidates: &[CandidatePlace],
        run: &Run,
    ) -> Result<(&'static str, OsString), RunnerError> {
        let mut list = String::new();
        let mut last = None;
        for pending in self.pending(candidates) {
            if let Some(place) = pending.places.front() {
                let TestId { binary, test } = &pending.test.id;
                let place = &self.places[*place].name;
                run.record_scheduled(place, &pending.test.id)?;
                let is_new = last.replace(&pending.test.id) != Some(&pending.test.id);
                if is_new && !self.runs_here(pending.test, candidates) {
                    list += &format!("{binary}\t{test}\t{place}\n");
                }
            }
        }
        for test in &self.tests {
            if !test.ignored && self.runs_here(test, candidates) {
                run.record_scheduled(HERE, &test.id)?;
            }
        }
        Ok((EXCLUDE_FILE, run.keep("left-to-places", list.as_bytes())?))
    }

    /// Runs the tests that the plan assigns to other places, with their records in the run's folder. A test that
    /// turns out to be unmet in a place is tried in the next, unless it runs everywhere; one that is met in
    /// none is recorded as run nowhere, with what is missing where. So is a binary under another
    /// harness, as one test, if this host is not among the candidates.
    ///
    /// `candidates` and `binaries` are those that the plan was made of.
    ///
    /// # Errors
    ///
    /// If records cannot be read or written. A place that does not come up fails the tests that have
    /// no other.
    pub fn run_in_places(
        &self,
        binaries: &[Binary],
        candidates: &mut [CandidatePlace],
        run: &Run,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), RunnerError> {
        let durations = run.expected_durations();
        let mut pending = self.pending(candidates);
        while pending.iter().any(|test| !test.places.is_empty()) && !reporter.stop.is_requested() {
            for (index, candidate) in candidates.iter_mut().enumerate() {
                let CandidatePlace::Place(place) = candidate else {
                    continue;
                };
                for binary in binaries {
                    let tests = pending
                        .iter()
                        .filter(|pending| pending.is_for(index, binary));
                    let job = |pending: &Pending<'_>| pending.job(run.attempts());
                    let tests: Vec<JobTest> = tests.map(job).collect();
                    if tests.is_empty() || reporter.stop.is_requested() {
                        continue;
                    }
                    let name = place.name().to_owned();
                    (reporter.progress)(&format!(
                        "{name}: {} of {}",
                        plural(tests.len(), "test"),
                        binary.id
                    ));
                    let info = self.binaries.get(&binary.id);
                    let job = Job {
                        binary,
                        tests,
                        run,
                        questions: info.map_or(&[], |info| &info.questions),
                        steps_per_ms: info.map_or(0.0, |info| info.steps_per_ms),
                        stop: reporter.stop,
                    };
                    let ran = run_job(place.as_mut(), &job, self.vms, &durations, reporter);
                    let broken = ran.err();
                    if reporter.stop.is_requested() {
                        // What it was at is recorded as begun, and the rest as about to run.
                        return Ok(());
                    }
                    let broken = broken.map(|error| chain(&*error));
                    if let Some(broken) = &broken {
                        (reporter.progress)(&format!("{name} cannot be used: {broken}"));
                    }
                    let records = records_of(run, &name, &binary.id)?;
                    for pending in pending
                        .iter_mut()
                        .filter(|pending| pending.is_for(index, binary))
                    {
                        pending.learn(index, records.get(&pending.test.id.test), broken.as_ref());
                    }
                }
            }
        }
        for of_test in pending.chunk_by(|one, other| one.test.id == other.test.id) {
            let runs_here = self.runs_here(of_test[0].test, candidates);
            self.settle(of_test, runs_here, run)?;
        }
        if !candidates
            .iter()
            .any(|candidate| matches!(candidate, CandidatePlace::Here))
        {
            for binary in &self.opaque {
                run.record_binary_nowhere(binary)?;
            }
        }
        Ok(())
    }

    /// The tests that do not run here, with the places to try. If each is to run everywhere: those that run
    /// in other places than this host, once for each place.
    fn pending(&self, candidates: &[CandidatePlace]) -> Vec<Pending<'_>> {
        let can_run =
            |index: &usize| matches!(candidates.get(*index), Some(CandidatePlace::Place(_)));
        let mut all = Vec::new();
        for test in self.tests.iter().filter(|test| !test.ignored) {
            let runs_here = self.runs_here(test, candidates);
            let places = test.places(self.spread).into_iter().filter(can_run);
            let places: VecDeque<usize> = places.collect();
            match self.spread {
                Spread::First if runs_here => {}
                Spread::Everywhere if !places.is_empty() => {
                    let one = |place| Pending::new(test, [place].into());
                    all.extend(places.into_iter().map(one));
                }
                Spread::Everywhere if runs_here => {}
                Spread::First | Spread::Everywhere => all.push(Pending::new(test, places)),
            }
        }
        all
    }

    /// Records what became of a test in places that did not run it.
    fn settle(
        &self,
        of_test: &[Pending<'_>],
        runs_here: bool,
        run: &Run,
    ) -> Result<(), RunnerError> {
        let test = of_test[0].test;
        // Otherwise the run was stopped.
        let tried = |pending: &&Pending<'_>| pending.places.is_empty();
        for pending in of_test.iter().filter(tried) {
            if let Some((index, why)) = &pending.broken {
                let place = &self.places[*index].name;
                let reason = Reason::infrastructure(why, place);
                run.record_failure(place, &test.id, reason, None)?;
            }
        }
        let unmet = |pending: &Pending<'_>| {
            pending.places.is_empty() && !pending.ran && pending.broken.is_none()
        };
        if !runs_here && of_test.iter().all(unmet) {
            run.record_nowhere(test, self.missing(test))?;
        }
        Ok(())
    }

    /// Whether a test runs here, before those in other places.
    fn runs_here(&self, test: &PlannedTest, candidates: &[CandidatePlace]) -> bool {
        let is_here = |index: &usize| matches!(candidates.get(*index), Some(CandidatePlace::Here));
        match self.spread {
            Spread::Everywhere => test.places(self.spread).iter().any(is_here),
            Spread::First => match test.chosen() {
                Some(chosen) => is_here(&chosen),
                // What cannot be told here, and is met nowhere, has failed here.
                None => test.eligibilities.iter().enumerate().any(|(index, there)| {
                    is_here(&index) && there.status == Status::Undetermined && !there.is_open
                }),
            },
        }
    }

    /// What a test lacks in the places of the plan: the same in several is said once, with all of
    /// them.
    #[must_use]
    pub fn missing(&self, test: &PlannedTest) -> Vec<Reason> {
        let mut missing: Vec<(Reason, Vec<&str>)> = Vec::new();
        for (place, eligibility) in self.places.iter().zip(&test.eligibilities) {
            for reason in &eligibility.reasons {
                match missing.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, places)) => places.push(&place.name),
                    None => missing.push((reason.clone(), vec![&place.name])),
                }
            }
        }
        let with_places = |(mut reason, places): (Reason, Vec<&str>)| {
            reason.source = format!("{}; {}", reason.source, places.join(", "));
            reason
        };
        missing.into_iter().map(with_places).collect()
    }
}

impl<'a> Pending<'a> {
    fn new(test: &'a PlannedTest, places: VecDeque<usize>) -> Self {
        Self {
            test,
            places,
            ran: false,
            broken: None,
        }
    }

    fn is_for(&self, place: usize, binary: &Binary) -> bool {
        self.places.front() == Some(&place) && self.test.id.binary == binary.id
    }

    fn job(&self, attempts: Attempts) -> JobTest {
        JobTest {
            name: self.test.id.test.clone(),
            limit: self.test.limit,
            attempts: attempts.most(Some(self.test.retries)),
            own_machine: self.test.own_machine,
        }
    }

    /// Takes in what came of it in a place.
    fn learn(&mut self, place: usize, record: Option<&Outcome>, broken: Option<&String>) {
        match (record, broken) {
            // The answers that were known have changed, or an open question has got its answer.
            (Some(Outcome::Skipped), _) => drop(self.places.pop_front()),
            (Some(_), _) => {
                self.places.clear();
                self.broken = None;
                self.ran = true;
            }
            (None, broken) => {
                let silent = || "it returned no record".to_owned();
                self.broken = Some((place, broken.cloned().unwrap_or_else(silent)));
                self.places.pop_front();
            }
        }
    }
}

/// What became of a binary's tests in a place so far.
pub(super) fn records_of(
    run: &Run,
    place: &str,
    binary: &str,
) -> Result<BTreeMap<String, Outcome>, RunnerError> {
    let is_of = |record: &Record| {
        record.place == place
            && record.binary == binary
            && record.phase == Phase::Run
            && record.attempt != SCHEDULED
    };
    let records = read(run.dir())?.into_iter().filter(is_of);
    let mut kinds: BTreeMap<String, Outcome> = BTreeMap::new();
    for record in records {
        let kind = kinds.entry(record.test).or_insert(record.outcome);
        *kind = record.outcome.min(*kind);
    }
    Ok(kinds)
}
