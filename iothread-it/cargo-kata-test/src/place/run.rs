//! Runs the tests of a job in VMs.
//!
//! Records are sent while the tests run. When a guest crashes, they show which test was running: that
//! test has failed, and the others run in a new VM. If no test of the batch had started, each test runs
//! in a VM of its own until one crashes its guest again.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kata_test::__runner::PLACE;
use kata_test::Reason;
use kata_test_runner::{Job, JobTest, Place, PlaceError, ProfileFile, TestId};

use super::environment::{RECORDS, set};
use super::files::{self, BatchFiles, LOST};
use super::guest::{Guest, GuestError};
use super::records::{RecordFilter, Records};
use super::saved::FailedTest;
use super::{VmPlace, with_second_try};
use guest_vm::guest::protocol::{Exit, Notice, Program};

/// The time that the harness may take beside its tests.
const HARNESS_OVERHEAD: Duration = Duration::from_secs(120);

/// A factor for work that a place slows down more than the measured work.
pub(super) const SLOWNESS_MARGIN: f64 = 2.0;

/// How often in a second a guest of KVM on hardware can exit to user space. Two microseconds for an exit are an
/// assumption.
const HARDWARE_EXITS_PER_S: f64 = 500_000.0;

/// The maximum slowness of a place: its own measurement is not trusted.
const MAX_SLOWNESS: f64 = 100.0;

/// The maximum size of output and records of a batch, in bytes. The harness prints the output of failed
/// tests only, and truncates it.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// Runs the tests of a job. Every test gets an outcome, also if it crashes its guest.
pub(super) fn run(
    place: &mut VmPlace,
    job: &Job<'_>,
    screen: &mut dyn FnMut(&[u8]),
) -> Result<(), PlaceError> {
    let slowness = slowness_of(place, job)?;
    let mut left = job.tests.clone();
    // Tests that share a machine come first.
    left.sort_by_key(|test| test.own_machine);
    let mut one_by_one = false;
    while !left.is_empty() && !job.stop.is_requested() {
        let sharing = left.iter().take_while(|test| !test.own_machine).count();
        // A guest that is saved has the state that its test left.
        let is_alone = one_by_one || job.run.saves_guests();
        let count = if is_alone { 1 } else { sharing.max(1) };
        let now = left[..count].to_vec();
        let number = 1 + place.batches.fetch_add(1, Ordering::Relaxed);
        let name = place.name.clone();
        // Dropped after this batch: a test may have taken it over.
        let guest = with_second_try(job.stop, || place.guest_for(job.binary, job.questions))?;
        let scale = scale_of(slowness, place.exit_slowness(&guest)?);
        let filter = RecordFilter {
            run: job.run.id().to_owned(),
            place: name.clone(),
            binary: job.binary.id.clone(),
            tests: names(&now).collect(),
            attempts: now.iter().map(|test| test.attempts).max().unwrap_or(1),
        };
        let file = format!("{}-{number}.jsonl", file_name(&name));
        let mut records = Records::new(filter, job.run.append(&file)?, job.run.kernel_warnings());
        let profile = ProfileFile::next(&name);
        let program = program(&guest, job, &now, &name, number, scale, profile.as_ref());
        let mut files = BatchFiles::new(
            job.run,
            &name,
            &job.binary.id,
            now.iter().map(|test| &test.name),
            now.iter().map(|test| test.attempts).max().unwrap_or(1),
            profile,
        );
        let mut written = 0;
        let ended = guest.run_until(job.stop, &program, &mut |notice| {
            written += match &notice {
                Notice::Output { bytes, .. } | Notice::Appended { bytes, .. } => bytes.0.len(),
                Notice::KernelMessage(text) => text.len(),
                Notice::KernelTaint(bits) => size_of_val(bits),
                Notice::LeftOut { path, .. } => path.len() + 1,
                _ => 0,
            };
            if written > MAX_OUTPUT_BYTES {
                return ControlFlow::Break(format!(
                    "tests wrote more than {MAX_OUTPUT_BYTES} bytes"
                ));
            }
            match &notice {
                Notice::Output { bytes, .. } => screen(&bytes.0),
                Notice::Appended { file, bytes } => {
                    records.add_artifacts(files.finish());
                    return records.append(file, &bytes.0);
                }
                Notice::Collected(piece) => return files.receive(piece),
                Notice::LeftOut { path, why } => files.leave_out(path, *why),
                Notice::KernelMessage(text) => records.kernel_message(text),
                Notice::KernelTaint(bits) => records.kernel_taint(*bits),
                Notice::LoadRunning | Notice::Left(_) | Notice::Started => {}
            }
            ControlFlow::Continue(())
        });
        if job.stop.is_requested() {
            return Ok(());
        }
        if let Some(error) = records.write_error() {
            let path = job.run.dir().join(&file);
            return Err(format!("cannot write {}: {error}", path.display()).into());
        }
        for (test, warning) in records.failed_by_kernel() {
            screen(format!("test {test} ... FAILED: the kernel reported: {warning}\n").as_bytes());
        }
        records.add_artifacts(files.finish());
        for profile in files.lost_profiles() {
            screen(format!("{profile}; it is left out\n").as_bytes());
        }
        let is_lost = ended.as_ref().is_err_and(files::are_lost);
        let unfinished: Vec<String> = names(&now)
            .filter(|name| !records.has_ended(name))
            .collect();
        let is_cut_short = !unfinished.is_empty();
        let started: Vec<String> = unfinished
            .iter()
            .filter(|name| records.has_started(name))
            .cloned()
            .collect();
        let ended_well = ended.is_ok();
        let (observed, failed) = match ended {
            // A harness that ends has recorded all of its tests, unless one of them ended it.
            Ok(exit) => {
                let has_records = unfinished.len() < now.len() || !started.is_empty();
                let observed = format!(
                    "the harness ended with {} without a record of this test",
                    exit_text(exit)
                );
                (observed, if has_records { started } else { unfinished })
            }
            // The harness was not started.
            Err(error @ GuestError::Io { .. }) => return Err(error.into()),
            // A test of this batch may have forged the agent's failure, so it counts for no other.
            Err(error) => {
                let is_certain = started.is_empty() && one_by_one;
                let failed = if is_certain { unfinished } else { started };
                one_by_one = is_cut_short && failed.is_empty();
                (describe(&error, &guest), failed)
            }
        };
        for test in &failed {
            let why = observed.lines().next().unwrap_or_default();
            screen(format!("test {test} ... FAILED: {why}\n").as_bytes());
            let mut artifacts = records.take_artifacts(test, 1);
            if is_lost {
                let artifacts = artifacts.get_or_insert_default();
                artifacts.left_out.push(LOST.to_owned());
            }
            let id = TestId::new(&*job.binary.id, test.as_str());
            let reason = Reason::infrastructure(&*observed, &*name);
            job.run.record_failure(&name, &id, reason, artifacts)?;
        }
        if let ([test], true) = (&*now, ended_well && job.run.saves_guests()) {
            let has_failed = records.has_failed(&test.name) || failed.contains(&test.name);
            if has_failed && job.run.claim_saved_guest() {
                let test = &TestId::new(&*job.binary.id, &*test.name);
                let (run, user) = (job.run, None);
                let saved = FailedTest {
                    run,
                    test,
                    place,
                    user,
                };
                screen((saved.save(guest) + "\n").as_bytes());
            }
        }
        left.retain(|test| !records.has_ended(&test.name) && !failed.contains(&test.name));
    }
    Ok(())
}

/// Returns how many times slower a binary is in a place.
fn slowness_of(place: &mut VmPlace, job: &Job<'_>) -> Result<f64, PlaceError> {
    let executable = &job.binary.executable;
    if !place.speeds.contains_key(executable) {
        // Listing measures the speed.
        place.list(job.binary, job.questions, job.stop)?;
    }
    let there = place.speeds.get(executable).copied().unwrap_or_default();
    Ok(slowness(job.steps_per_ms, there))
}

/// Returns how many times slower a place is than here, by its own measurement, which is not trusted.
pub(super) fn slowness(here: f64, there: f64) -> f64 {
    // NaN is not greater.
    if there > 0.0 && here > there {
        (here / there).min(MAX_SLOWNESS)
    } else {
        1.0
    }
}

/// Returns how many times slower guests of KVM exit in a place than on hardware. Without a measurement, as in a
/// place without KVM, they are not slower.
pub(super) fn exit_slowness(exits_per_s: Option<u64>) -> f64 {
    exits_per_s.map_or(1.0, |there| slowness(HARDWARE_EXITS_PER_S, there as f64))
}

/// Returns the factor by which time limits are longer in a place where a program is so many times slower, and an
/// exit of a guest of KVM. Tests with guests do both; the geometric mean stands for the mixture. An exit alone is
/// a hundred times slower under emulation, and with limits that are so much longer, a test that hangs would
/// not end in the time that a run has.
pub(super) fn scale_of(slowness: f64, exit_slowness: f64) -> f64 {
    SLOWNESS_MARGIN * slowness.max((slowness * exit_slowness).sqrt())
}

/// Returns the time limit of the harness for tests with these limits.
fn harness_timeout(limits: impl Iterator<Item = Duration>, scale: f64) -> Duration {
    let seconds: f64 = limits.map(|limit| limit.as_secs_f64()).sum();
    let tests = Duration::try_from_secs_f64(seconds * scale).unwrap_or(Duration::MAX);
    tests.saturating_add(HARNESS_OVERHEAD)
}

fn program(
    guest: &Guest,
    job: &Job<'_>,
    tests: &[JobTest],
    place: &str,
    number: usize,
    scale: f64,
    profile: Option<&ProfileFile>,
) -> Program {
    let timeout = harness_timeout(tests.iter().map(JobTest::whole_limit), scale);
    // One test at a time, so that it is known which one crashed the guest.
    let arguments = ["--exact".to_owned(), "--test-threads=1".to_owned()];
    let arguments: Vec<String> = arguments.into_iter().chain(names(tests)).collect();
    let mut program = guest.program(&arguments, timeout);
    let environment = &mut program.environment;
    set(environment, PLACE, place);
    set(environment, "KATA_TEST_RUN", job.run.id());
    set(environment, "KATA_TEST_TIME_SCALE", &scale.to_string());
    for (name, value) in job.run.attempts().variables() {
        set(environment, name, &value.to_string_lossy());
    }
    let folder = format!("{RECORDS}/{number}");
    set(environment, "KATA_TEST_RECORD_DIR", &folder);
    let root = format!("{folder}/runs/{}", job.run.id());
    program.follow = Some(root.clone());
    let attempts: u64 = tests.iter().map(|test| u64::from(test.attempts)).sum();
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    let ended = Some(format!("{folder}/ended"));
    files::collect(&mut program, root, ended, profile, attempts);
    program
}

fn names(tests: &[JobTest]) -> impl Iterator<Item = String> {
    tests.iter().map(|test| test.name.clone())
}

/// Describes an exit status.
pub(super) fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Describes why the guest failed, with the end of its console.
pub(super) fn describe(error: &GuestError, guest: &Guest) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // A transparent error has the same text as its source.
    texts.dedup();
    format!("{}{}", texts.join(": "), guest.exit_report())
}

/// Converts a place's name to a part of a file name.
fn file_name(place: &str) -> String {
    place.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
mod tests {
    //! **Scope**: arithmetic with numbers from a guest; `tests/places` runs tests in guests.

    use super::*;
    use kata_test_runner::DEFAULT_LIMIT;

    #[test]
    fn slowness_and_timeouts_are_bounded() {
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
                    (1.0..=MAX_SLOWNESS).contains(&slower),
                    "{here}/{there}: {slower}"
                );
                let limits = [DEFAULT_LIMIT, Duration::MAX, Duration::MAX];
                assert!(
                    harness_timeout(limits.into_iter(), SLOWNESS_MARGIN * slower) > DEFAULT_LIMIT
                );
            }
        }
        assert_eq!(slowness(30.0, 10.0).to_bits(), 3.0_f64.to_bits());
        assert_eq!(exit_slowness(Some(10_000)).to_bits(), 50.0_f64.to_bits());
        for (exits_per_s, expected) in [(None, 1.0), (Some(u64::MAX), 1.0), (Some(1), MAX_SLOWNESS)]
        {
            assert_eq!(exit_slowness(exits_per_s).to_bits(), f64::to_bits(expected));
        }
        for (slowness, exits, expected) in [(5.0, 1.0, 10.0), (4.0, 64.0, 32.0), (1.0, 4.0, 4.0)] {
            assert_eq!(scale_of(slowness, exits).to_bits(), f64::to_bits(expected));
        }
        let minute = Duration::from_secs(60);
        assert_eq!(
            harness_timeout([minute; 2].into_iter(), 2.0),
            4 * minute + HARNESS_OVERHEAD
        );
    }
}
