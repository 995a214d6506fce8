//! Running what cannot be run here, each test in the first of its places that takes it.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;

use super::merge::{ABOUT_TO_RUN, read};
use super::plan::chain;
use super::{
    Binary, Job, JobTest, Outcome, Outlook, Phase, Plan, PlannedTest, Record, Run, RunnerError,
    Site, Stop, TestId,
};
use kata_test::__runner::{EXCLUDE_FILE, HERE};
use kata_test_host::reason::Reason;

/// A test that has not run yet, and the places left to try.
struct Pending<'a> {
    test: &'a PlannedTest,
    places: VecDeque<usize>,
    /// Whether a place has run it.
    ran: bool,
    /// Why the last place did not come up.
    broken: Option<(usize, String)>,
}

/// Who hears of what happens.
pub struct Audience<'a> {
    /// Hears what is done, a line at a time.
    pub told: &'a mut dyn FnMut(&str),
    /// Gets what test binaries print, as they print it.
    pub screen: &'a mut dyn FnMut(&[u8]),
    /// Tells it to stop. What a place is at then ends.
    pub stop: Stop<'a>,
}

impl Plan {
    /// Records that tests are about to run, here or elsewhere, so that none is missed if nothing more
    /// comes of this run, and returns what the binaries here have to find in their environment to
    /// leave the others.
    ///
    /// # Errors
    ///
    /// If the records cannot be written.
    pub fn leave_elsewhere(
        &self,
        sites: &[Site],
        run: &Run,
    ) -> Result<(&'static str, OsString), RunnerError> {
        let mut list = String::new();
        for pending in self.pending(sites) {
            if let Some(place) = pending.places.front() {
                let TestId { binary, test } = &pending.test.id;
                let place = &self.places[*place].name;
                run.about_to_run(place, binary, test)?;
                list += &format!("{binary}\t{test}\t{place}\n");
            }
        }
        for test in &self.tests {
            if !test.is_ignored() && runs_here(test, sites) {
                let TestId { binary, test } = &test.id;
                run.about_to_run(HERE, binary, test)?;
            }
        }
        Ok((EXCLUDE_FILE, run.keep("left-to-places", list.as_bytes())?))
    }

    /// Runs the tests that the plan has not here, in their places, with their records in the run's
    /// folder. A test that turns out to be unmet in a place is tried in the next; one that is met in
    /// none is recorded as run nowhere, with what is missing where. So is a binary under another
    /// harness, as one test, if this host is not among the sites.
    ///
    /// `sites` and `binaries` are those that the plan was made of.
    ///
    /// # Errors
    ///
    /// If records cannot be read or written. A place that does not come up fails the tests that have
    /// no other.
    pub fn run_elsewhere(
        &self,
        binaries: &[Binary],
        sites: &mut [Site],
        run: &Run,
        audience: &mut Audience<'_>,
    ) -> Result<(), RunnerError> {
        let mut pending = self.pending(sites);
        while pending.iter().any(|test| !test.places.is_empty()) && !audience.stop.is_asked() {
            for (index, site) in sites.iter_mut().enumerate() {
                let Site::Place(place) = site else { continue };
                for binary in binaries {
                    let tests = pending
                        .iter()
                        .filter(|pending| pending.is_for(index, binary));
                    let tests: Vec<JobTest> = tests.map(Pending::job).collect();
                    if tests.is_empty() || audience.stop.is_asked() {
                        continue;
                    }
                    let name = place.name().to_owned();
                    (audience.told)(&format!("{name}: {}", count(&tests, &binary.id)));
                    let asked = self.asked.get(&binary.id);
                    let job = Job {
                        binary,
                        tests,
                        run,
                        wishes: asked.map_or(&[], |asked| &asked.wishes),
                        steps_per_ms: asked.map_or(0.0, |asked| asked.steps_per_ms),
                        stop: audience.stop,
                    };
                    let broken = place.run(&job, audience.screen).err();
                    if audience.stop.is_asked() {
                        // What it was at is recorded as begun, and the rest as about to run.
                        return Ok(());
                    }
                    let broken = broken.map(|error| chain(&*error));
                    if let Some(broken) = &broken {
                        (audience.told)(&format!("{name} cannot be used: {broken}"));
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
        for pending in &pending {
            self.settle(pending, run)?;
        }
        if !sites.iter().any(|site| matches!(site, Site::Here)) {
            for binary in &self.opaque {
                run.binary_nowhere(binary)?;
            }
        }
        Ok(())
    }

    /// The tests that do not run here, with the places to try.
    fn pending(&self, sites: &[Site]) -> Vec<Pending<'_>> {
        let can_run = |index: &usize| matches!(sites.get(*index), Some(Site::Place(_)));
        let others = self
            .tests
            .iter()
            .filter(|test| !test.is_ignored() && !runs_here(test, sites));
        let pending = |test| Pending {
            test,
            places: PlannedTest::candidates(test).filter(can_run).collect(),
            ran: false,
            broken: None,
        };
        others.map(pending).collect()
    }

    /// Records what became of a test that ran in none of its places.
    fn settle(&self, pending: &Pending<'_>, run: &Run) -> Result<(), RunnerError> {
        let test = pending.test;
        match &pending.broken {
            Some((index, why)) if pending.places.is_empty() => {
                let place = &self.places[*index].name;
                let reason = Reason::infrastructure(why, place);
                run.fail(place, &test.id.binary, &test.id.test, reason)
            }
            None if pending.places.is_empty() && !pending.ran => {
                run.nowhere(test, &self.missing(test))
            }
            // It ran, or the run was stopped.
            _ => Ok(()),
        }
    }

    /// What a test lacks in the places of the plan: the same in several is said once, with all of
    /// them.
    #[must_use]
    pub fn missing(&self, test: &PlannedTest) -> Vec<Reason> {
        let mut missing: Vec<(Reason, Vec<&str>)> = Vec::new();
        for (place, outlook) in self.places.iter().zip(&test.outlooks) {
            for reason in outlook.reasons() {
                match missing.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, places)) => places.push(&place.name),
                    None => missing.push((reason.clone(), vec![&place.name])),
                }
            }
        }
        let told = |(mut reason, places): (Reason, Vec<&str>)| {
            reason.source = format!("{}; {}", reason.source, places.join(", "));
            reason
        };
        missing.into_iter().map(told).collect()
    }
}

impl Pending<'_> {
    fn is_for(&self, place: usize, binary: &Binary) -> bool {
        self.places.front() == Some(&place) && self.test.id.binary == binary.id
    }

    fn job(&self) -> JobTest {
        JobTest {
            name: self.test.id.test.clone(),
            limit: self.test.limit,
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
                let silent = || "no record came from it".to_owned();
                self.broken = Some((place, broken.cloned().unwrap_or_else(silent)));
                self.places.pop_front();
            }
        }
    }
}

/// Whether cargo runs a test here.
fn runs_here(test: &PlannedTest, sites: &[Site]) -> bool {
    let is_here = |index: usize| matches!(sites.get(index), Some(Site::Here));
    match test.chosen() {
        Some(chosen) => is_here(chosen),
        // What cannot be told here, and is met nowhere, has failed here.
        None => (0..sites.len()).any(|index| {
            is_here(index) && matches!(test.outlooks[index], Outlook::Undetermined(_))
        }),
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
            && record.attempt != ABOUT_TO_RUN
    };
    let records = read(run.dir())?.into_iter().filter(is_of);
    let mut kinds: BTreeMap<String, Outcome> = BTreeMap::new();
    for record in records {
        let kind = kinds.entry(record.test).or_insert(record.outcome);
        *kind = record.outcome.min(*kind);
    }
    Ok(kinds)
}

fn count(tests: &[JobTest], binary: &str) -> String {
    let plural = if tests.len() == 1 { "" } else { "s" };
    format!("{} test{plural} of {binary}", tests.len())
}
