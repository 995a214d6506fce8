//! Running tests in a VM, whatever they do to it.
//!
//! Records come back as they are written. When the guest is gone, those tell which test it was at:
//! that one has failed, and the others are run in a new VM. If they do not tell, since the guest went
//! too fast, each of the others gets a VM of its own until one has taken it with it again.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use kata_test::Reason;
use kata_test_runner::{Job, JobTest, Outcome, OutcomeKind, Phase, Place, PlaceError};

use super::VmPlace;
use super::environment::{RECORDS, name_place, set};
use super::guest::{Guest, GuestError};
use guest_vm::guest::protocol::{Exit, Notice, Program};

/// How long a test may take that has no limit of its own: none is waited for without end.
const UNLIMITED: Duration = Duration::from_secs(10 * 60);

/// How long the harness may take around its tests.
const AROUND: Duration = Duration::from_secs(120);

/// A place that is slower in what was measured can be slower still in something else.
const MARGIN: f64 = 2.0;

/// What came of some tests in one VM.
#[derive(Default)]
struct Batch {
    /// The tests that have ended, in whatever way.
    ended: BTreeSet<String>,
    /// The tests that began and have not ended.
    began: BTreeSet<String>,
    /// A line whose end has not come yet.
    cut: Vec<u8>,
    /// Why a record could not be kept.
    unwritten: Option<(PathBuf, io::Error)>,
}

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
    while !left.is_empty() && !job.stop.is_asked() {
        let sharing = left.iter().take_while(|test| !test.own_machine).count();
        let count = if one_by_one { 1 } else { sharing.max(1) };
        let now = left[..count].to_vec();
        let alone = now[0].own_machine;
        place.leave_if(|guest| alone && guest.has_run_tests());
        place.runs += 1;
        let prefix = format!("{}-{}", file_name(&place.name), place.runs);
        let name = place.name.clone();
        let guest = place.occupied(job.binary, job.wishes)?;
        let mut batch = Batch::default();
        let program = program(guest, job, &now, &name, scale);
        let ended = guest.run_until(job.stop, &program, &mut |notice| {
            batch.take(notice, job, &prefix, screen);
        });
        if job.stop.is_asked() {
            return Ok(());
        }
        guest.tests_have_run();
        if let Some((path, error)) = batch.unwritten {
            return Err(format!("cannot write {}: {error}", path.display()).into());
        }
        let mut fail = |tests: &[String], observed: &str| -> Result<(), PlaceError> {
            for test in tests {
                screen(format!("test {test} ... FAILED: {}\n", first_line(observed)).as_bytes());
                let reason = Reason {
                    constraint: "the guest stays up".to_owned(),
                    observed: observed.to_owned(),
                    source: name.clone(),
                };
                job.run.fail(&name, &job.binary.id, test, reason)?;
            }
            Ok(())
        };
        left.retain(|test| !batch.ended.contains(&test.name));
        match ended {
            Ok(exit) => {
                // A harness that ends tells of all its tests, unless something ended it.
                let silent: Vec<String> = names(&now)
                    .filter(|name| !batch.ended.contains(name))
                    .collect();
                fail(
                    &silent,
                    &format!(
                        "the harness ended with {} and told nothing of it",
                        words(exit)
                    ),
                )?;
                left.retain(|test| !silent.contains(&test.name));
            }
            Err(error) if guest.is_well() => return Err(error.into()),
            Err(error) => {
                let words = describe(&error, guest);
                let began: Vec<String> = batch.began.into_iter().collect();
                let culprits = match (began.is_empty(), count) {
                    (true, 1) => names(&now).collect(),
                    _ => began,
                };
                one_by_one = culprits.is_empty();
                fail(&culprits, &words)?;
                left.retain(|test| !culprits.contains(&test.name));
            }
        }
        place.leave_if(|_| alone);
    }
    Ok(())
}

/// By how much time limits are longer there.
fn scale(place: &mut VmPlace, job: &Job<'_>) -> Result<f64, PlaceError> {
    let executable = &job.binary.executable;
    if !place.speeds.contains_key(executable) {
        // The list is short, and measures.
        place.list(job.binary, job.wishes)?;
    }
    let there = place.speeds.get(executable).copied().unwrap_or_default();
    let slower = if there > 0.0 {
        job.steps_per_ms / there
    } else {
        1.0
    };
    Ok(MARGIN * slower.max(1.0))
}

fn program(guest: &Guest, job: &Job<'_>, tests: &[JobTest], place: &str, scale: f64) -> Program {
    let limits = tests.iter().map(|test| test.limit.unwrap_or(UNLIMITED));
    let span = limits.sum::<Duration>().mul_f64(scale) + AROUND;
    // One after the other: who takes the guest with it is known then.
    let arguments = ["--exact".to_owned(), "--test-threads=1".to_owned()];
    let arguments: Vec<String> = arguments.into_iter().chain(names(tests)).collect();
    let mut program = guest.program(job.binary, &arguments, span);
    let environment = &mut program.environment;
    name_place(environment, place);
    set(environment, "KATA_TEST_RUN", job.run.id());
    set(environment, "KATA_TEST_TIME_SCALE", &scale.to_string());
    program.follow = Some(format!("{RECORDS}/runs/{}", job.run.id()));
    program
}

impl Batch {
    fn take(&mut self, notice: Notice, job: &Job<'_>, prefix: &str, screen: &mut dyn FnMut(&[u8])) {
        match notice {
            Notice::Output { bytes, .. } => screen(&bytes.0),
            Notice::Appended { file, bytes } if file.ends_with(".jsonl") => {
                let path = job.run.dir().join(format!("{prefix}-{file}"));
                let open = OpenOptions::new().create(true).append(true).open(&path);
                if let Err(error) = open.and_then(|mut file| file.write_all(&bytes.0)) {
                    self.unwritten = Some((path, error));
                }
                self.read(&bytes.0);
            }
            Notice::Appended { .. } | Notice::LoadRunning => {}
        }
    }

    /// Reads what records say. There is one file: tests that start test binaries of their own write
    /// to others, whose names no test of ours has.
    fn read(&mut self, bytes: &[u8]) {
        self.cut.extend_from_slice(bytes);
        while let Some(end) = self.cut.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.cut.drain(..=end).collect();
            let Ok(record) = serde_json::from_slice::<Outcome>(&line) else {
                continue;
            };
            if record.phase != Phase::Run {
                continue;
            }
            if record.outcome == OutcomeKind::Lost {
                self.began.insert(record.test);
            } else {
                self.began.remove(&record.test);
                self.ended.insert(record.test);
            }
        }
    }
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
    format!("{}{}", texts.join(": "), guest.last_words())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A place's name as a part of a file's.
fn file_name(place: &str) -> String {
    place.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}
