//! Runs the tests of a job in one instance of a place, or in several at the same time.

use std::cmp::Reverse;
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use super::records_of;
use crate::error::chain;
use crate::{ExpectedDurations, Job, JobTest, Place, PlaceError, Reporter, TestId, Vms};

/// Runs a job. Several instances have shares that are expected to take equally long.
pub(super) fn run_job(
    place: &mut dyn Place,
    job: &Job<'_>,
    vms: Vms,
    durations: &ExpectedDurations,
    reporter: &mut Reporter<'_>,
) -> Result<(), PlaceError> {
    let name = place.name().to_owned();
    let expected = |test: &JobTest| {
        let id = TestId::new(&*job.binary.id, &*test.name);
        durations.of(&id, &name)
    };
    let count = vms.count(job.tests.iter().map(expected), place.cost());
    let others = (1..count).map_while(|_| place.another());
    let mut others: Vec<Box<dyn Place>> = others.collect();
    if others.is_empty() {
        return place.run(job, reporter.output);
    }
    let start = place.cost();
    let expected = |test: &JobTest| expected(test).unwrap_or(start);
    let mut shares = shares(&job.tests, others.len() + 1, expected).into_iter();
    let first = part(job, shares.next().unwrap_or_default());
    let parts: Vec<Job<'_>> = shares.map(|share| part(job, share)).collect();
    let run = |place: &mut dyn Place, job: &Job<'_>, tell: Sender<Vec<u8>>| {
        let mut lines = Lines::new(tell);
        place.run(job, &mut |bytes| lines.add(bytes))
    };
    let (run, first, itself) = (&run, &first, &mut *place);
    thread::scope(|scope| {
        let (tell, told) = channel();
        let sender = tell.clone();
        let first = scope.spawn(move || run(itself, first, sender));
        let others = others.iter_mut().zip(&parts).map(|(other, job)| {
            let tell = tell.clone();
            scope.spawn(move || run(&mut **other, job, tell))
        });
        let others: Vec<_> = others.collect();
        drop(tell);
        told.iter()
            .for_each(|bytes: Vec<u8>| (reporter.output)(&bytes));
        for other in others {
            let ran = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            if let Err(error) = ran {
                let text = format!(
                    "{name} runs fewer tests at the same time: {}",
                    chain(&*error)
                );
                (reporter.progress)(&text);
            }
        }
        first.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    // What instances that did not come up have left.
    let done = records_of(job.run, &name, &job.binary.id)?;
    let left = parts.into_iter().flat_map(|part| part.tests);
    let left: Vec<JobTest> = left.filter(|test| !done.contains_key(&test.name)).collect();
    match left.is_empty() || job.stop.is_requested() {
        true => Ok(()),
        false => place.run(&part(job, left), reporter.output),
    }
}

fn part<'a>(job: &Job<'a>, tests: Vec<JobTest>) -> Job<'a> {
    Job { tests, ..*job }
}

/// Shares out tests, the longest first, each to the share that is shortest so far.
fn shares(
    tests: &[JobTest],
    count: usize,
    expected: impl Fn(&JobTest) -> Duration,
) -> Vec<Vec<JobTest>> {
    let mut tests: Vec<(Duration, &JobTest)> =
        tests.iter().map(|test| (expected(test), test)).collect();
    tests.sort_by_key(|(duration, _)| Reverse(*duration));
    let mut shares = vec![(Duration::ZERO, Vec::new()); count];
    for (duration, test) in tests {
        let shortest = shares
            .iter_mut()
            .min_by_key(|(total, tests)| (*total, tests.len()));
        if let Some((total, tests)) = shortest {
            *total = total.saturating_add(duration);
            tests.push(test.clone());
        }
    }
    shares.into_iter().map(|(_, tests)| tests).collect()
}

/// Passes on whole lines, so that those of several instances do not mix.
struct Lines {
    begun: Vec<u8>,
    tell: Sender<Vec<u8>>,
}

impl Lines {
    fn new(tell: Sender<Vec<u8>>) -> Self {
        let begun = Vec::new();
        Self { begun, tell }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.begun.extend(bytes);
        if let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.begun.split_off(end + 1);
            let _ = self.tell.send(std::mem::replace(&mut self.begun, rest));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.tell.send(std::mem::take(&mut self.begun));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::tests::vms::Instance;
    use crate::{Binary, Run, StopToken};

    #[test]
    #[should_panic(expected = "a bug of another instance")]
    fn a_panic_of_another_instance_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::start(root.path()).unwrap();
        let test = |name: &str| JobTest {
            name: name.to_owned(),
            limit: None,
            attempts: 1,
            own_machine: false,
        };
        let job = Job {
            binary: &Binary::default(),
            tests: ["a", "b"].map(test).into(),
            run: &run,
            questions: &[],
            steps_per_ms: 0.0,
            stop: StopToken::NEVER,
        };
        let mut reporter = Reporter {
            progress: &mut |_| {},
            output: &mut |_| {},
            stop: StopToken::NEVER,
        };
        let vms = Vms::new(NonZeroUsize::new(2));
        let durations = run.expected_durations();
        let _ = run_job(
            &mut Instance::first(true, false),
            &job,
            vms,
            &durations,
            &mut reporter,
        );
    }

    #[test]
    fn shares_are_expected_to_take_equally_long() {
        let test = |name: &str| JobTest {
            name: name.to_owned(),
            limit: None,
            attempts: 1,
            own_machine: false,
        };
        let tests = ["1", "5", "2", "4", "2"].map(test);
        let seconds = |test: &JobTest| Duration::from_secs(test.name.parse().unwrap());
        let names = |share: Vec<JobTest>| {
            let names: Vec<String> = share.into_iter().map(|test| test.name).collect();
            names.join(" ")
        };
        let shares = shares(&tests, 2, seconds);
        let shares: Vec<String> = shares.into_iter().map(names).collect();
        assert_eq!(shares, ["5 2", "4 2 1"]);
    }

    #[test]
    fn lines_are_passed_on_whole() {
        let (tell, told) = channel();
        let mut lines = Lines::new(tell);
        for piece in ["test a ... ", "ok\ntest b", " ... FAILED\n", "end"] {
            lines.add(piece.as_bytes());
        }
        drop(lines);
        let pieces: Vec<String> = told.iter().map(|b| String::from_utf8(b).unwrap()).collect();
        assert_eq!(pieces, ["test a ... ok\n", "test b ... FAILED\n", "end"]);
    }
}
