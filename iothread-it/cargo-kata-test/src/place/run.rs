//! Running tests in a VM, whatever they do to it.
//!
//! Records come back as they are written. When the guest is gone, those tell which test it was at:
//! that one has failed, and the others are run in a new VM. If they do not tell, since the guest went
//! too fast, each of the others gets a VM of its own until one has taken it with it again.

use std::ops::ControlFlow;
use std::time::Duration;

use kata_test::Reason;
use kata_test_runner::{Job, JobTest, Place, PlaceError};

use super::environment::{RECORDS, name_place, set};
use super::guest::{Guest, GuestError};
use super::records::{Expected, Records};
use super::{VmPlace, with_second_try};
use guest_vm::guest::protocol::{Exit, Notice, Program};

/// How long a test may take that has no limit of its own: none is waited for without end.
const UNLIMITED: Duration = Duration::from_secs(10 * 60);

/// How long the harness may take around its tests.
const AROUND: Duration = Duration::from_secs(120);

/// A place that is slower in what was measured can be slower still in something else.
const MARGIN: f64 = 2.0;

/// No place is so many times slower, whatever it says of itself.
const SLOWEST: f64 = 1000.0;

/// How much the tests of one run of a binary may write, in bytes. The harness shows the output of
/// tests that fail alone, and not all of it.
const OUTPUT_LIMIT: usize = 64 << 20;

/// Runs the tests of a job, each to its end or that of a VM.
pub(super) fn run(
    place: &mut VmPlace,
    job: &Job<'_>,
    screen: &mut dyn FnMut(&[u8]),
) -> Result<(), PlaceError> {
    let scale = scale(place, job)?;
    let mut left = job.tests.clone();
    // Those that share a machine go first.
    left.sort_by_key(|test| test.own_machine);
    let mut one_by_one = false;
    while !left.is_empty() && !job.stop.is_requested() {
        let sharing = left.iter().take_while(|test| !test.own_machine).count();
        let count = if one_by_one { 1 } else { sharing.max(1) };
        let now = left[..count].to_vec();
        place.runs += 1;
        let runs = place.runs;
        let name = place.name.clone();
        // Dropped after this batch: it may be in a test's hands.
        let guest = with_second_try(job.stop, || place.guest_for(job.binary, job.questions))?;
        let expected = Expected {
            run: job.run.id().to_owned(),
            place: name.clone(),
            binary: job.binary.id.clone(),
            tests: names(&now).collect(),
        };
        let file = format!("{}-{runs}.jsonl", file_name(&name));
        let mut records = Records::new(expected, job.run.append(&file)?);
        let program = program(&guest, job, &now, &name, runs, scale);
        let mut written = 0;
        let ended = guest.run_until(job.stop, &program, &mut |notice| {
            let (Notice::Output { bytes, .. } | Notice::Appended { bytes, .. }) = &notice else {
                return ControlFlow::Continue(());
            };
            written += bytes.0.len();
            if written > OUTPUT_LIMIT {
                return ControlFlow::Break(format!("tests wrote more than {OUTPUT_LIMIT} bytes"));
            }
            if let Notice::Appended { file, bytes } = &notice {
                return records.append(file, &bytes.0);
            }
            screen(&bytes.0);
            ControlFlow::Continue(())
        });
        if job.stop.is_requested() {
            return Ok(());
        }
        if let Some(error) = records.unwritten() {
            let path = job.run.dir().join(&file);
            return Err(format!("cannot write {}: {error}", path.display()).into());
        }
        let mut fail = |tests: &[String], observed: &str| -> Result<(), PlaceError> {
            for test in tests {
                screen(format!("test {test} ... FAILED: {}\n", first_line(observed)).as_bytes());
                let reason = Reason::infrastructure(observed, &name);
                job.run
                    .record_failure(&name, &job.binary.id, test, reason)?;
            }
            Ok(())
        };
        let silent: Vec<String> = names(&now)
            .filter(|name| !records.has_ended(name))
            .collect();
        let is_broken = !silent.is_empty();
        let began: Vec<String> = silent
            .iter()
            .filter(|name| records.has_begun(name))
            .cloned()
            .collect();
        let (observed, culprits) = match ended {
            // A harness that ends tells of all its tests, unless one of them ended it.
            Ok(exit) => {
                let has_told = silent.len() < now.len() || !began.is_empty();
                let observed = format!(
                    "the harness ended with {} and told nothing of it",
                    words(exit)
                );
                (observed, if has_told { began } else { silent })
            }
            // No harness was sent.
            Err(error @ GuestError::Io { .. }) => return Err(error.into()),
            // Whatever the agent or its channel reports, a test of this batch can have forged it.
            Err(error) => {
                let is_plain = began.is_empty() && count == 1;
                let culprits = if is_plain { silent } else { began };
                one_by_one = is_broken && culprits.is_empty();
                (describe(&error, &guest), culprits)
            }
        };
        fail(&culprits, &observed)?;
        left.retain(|test| !records.has_ended(&test.name) && !culprits.contains(&test.name));
    }
    Ok(())
}

/// By how much time limits are longer there.
fn scale(place: &mut VmPlace, job: &Job<'_>) -> Result<f64, PlaceError> {
    let executable = &job.binary.executable;
    if !place.speeds.contains_key(executable) {
        // The list is short, and measures.
        place.list(job.binary, job.questions, job.stop)?;
    }
    let there = place.speeds.get(executable).copied().unwrap_or_default();
    Ok(MARGIN * slowness(job.steps_per_ms, there))
}

/// How many times slower a place is by its own figure, which it may have made up.
fn slowness(here: f64, there: f64) -> f64 {
    // What is not a number is not greater either.
    if there > 0.0 && here > there {
        (here / there).min(SLOWEST)
    } else {
        1.0
    }
}

/// How long the harness may take for tests with these limits.
fn span(limits: impl Iterator<Item = Duration>, scale: f64) -> Duration {
    let seconds: f64 = limits.map(|limit| limit.as_secs_f64()).sum();
    let tests = Duration::try_from_secs_f64(seconds * scale).unwrap_or(Duration::MAX);
    tests.saturating_add(AROUND)
}

fn program(
    guest: &Guest,
    job: &Job<'_>,
    tests: &[JobTest],
    place: &str,
    runs: usize,
    scale: f64,
) -> Program {
    let limits = tests.iter().map(|test| test.limit.unwrap_or(UNLIMITED));
    let span = span(limits, scale);
    // One after the other: who takes the guest with it is known then.
    let arguments = ["--exact".to_owned(), "--test-threads=1".to_owned()];
    let arguments: Vec<String> = arguments.into_iter().chain(names(tests)).collect();
    let mut program = guest.program(&arguments, span);
    let environment = &mut program.environment;
    name_place(environment, place);
    set(environment, "KATA_TEST_RUN", job.run.id());
    set(environment, "KATA_TEST_TIME_SCALE", &scale.to_string());
    // A folder for each, so that nothing of another comes along.
    let folder = format!("{RECORDS}/{runs}");
    set(environment, "KATA_TEST_RECORD_DIR", &folder);
    program.follow = Some(format!("{folder}/runs/{}", job.run.id()));
    program
}

fn names(tests: &[JobTest]) -> impl Iterator<Item = String> {
    tests.iter().map(|test| test.name.clone())
}

fn words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Why the guest is gone, with the end of its console.
fn describe(error: &GuestError, guest: &Guest) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // An error that passes its cause on says the same.
    texts.dedup();
    format!("{}{}", texts.join(": "), guest.exit_report())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A place's name as a part of a file's.
fn file_name(place: &str) -> String {
    place.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
mod tests {
    //! **Scope**: arithmetic with what a guest says; tests in guests are those of `tests/places`.

    use super::*;

    #[test]
    fn no_figure_of_a_place_is_too_wild() {
        for there in [
            1e-300,
            f64::MIN_POSITIVE,
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
        ] {
            for here in [1e300, 1.0, 0.0, f64::NAN, f64::INFINITY] {
                let slower = slowness(here, there);
                assert!(
                    (1.0..=SLOWEST).contains(&slower),
                    "{here}/{there}: {slower}"
                );
                let limits = [UNLIMITED, Duration::MAX, Duration::MAX];
                assert!(span(limits.into_iter(), MARGIN * slower) > UNLIMITED);
            }
        }
        assert_eq!(slowness(30.0, 10.0).to_bits(), 3.0_f64.to_bits());
        let minute = Duration::from_secs(60);
        assert_eq!(span([minute; 2].into_iter(), 2.0), 4 * minute + AROUND);
    }
}
