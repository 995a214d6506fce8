//! Tests that crash their guest fail, and no others.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use kata_test::kata_test;
use kata_test_runner::{Job, JobTest, Outcome, Place, Record, Run, StopToken};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{build, folder, kind, outcome, place};

/// The maximum size of the output that is kept, in bytes.
const MAX_SCREEN_BYTES: usize = 256 << 10;

/// A test target and the names of its tests.
type Batch<'a> = (&'a str, &'a [&'a str]);

/// Runs tests of the target `destructive` in a guest. Returns their outcomes and output. `meanwhile` runs
/// in another thread and gets the folder of the records.
pub(crate) fn run(tests: &[&str], meanwhile: fn(&Path)) -> Result<(Vec<Record>, String)> {
    run_until(StopToken::NEVER, tests, meanwhile)
}

pub(crate) fn run_until(
    stop: StopToken<'_>,
    tests: &[&str],
    meanwhile: impl FnOnce(&Path) + Send,
) -> Result<(Vec<Record>, String)> {
    run_binaries(stop, &[("destructive", tests)], meanwhile)
}

/// Runs tests of several targets in one place, like [`run`]. First, every target lists its tests, as for
/// a plan.
pub(crate) fn run_binaries(
    stop: StopToken<'_>,
    batches: &[Batch<'_>],
    meanwhile: impl FnOnce(&Path) + Send,
) -> Result<(Vec<Record>, String)> {
    let binary = |(target, _): &Batch<'_>| {
        let mut binary = build(env!("CARGO_MANIFEST_DIR").into(), target)?;
        let enabled = ("PLACES_DESTRUCTIVE".into(), "1".into());
        binary.env.push(enabled);
        Ok(binary)
    };
    let binaries = batches.iter().map(binary).collect::<Result<Vec<_>>>()?;
    let folder = folder()?;
    let run = Run::start(&folder.path().join("records"))?;
    let mut place = place("6.1", &folder)?;
    let mut screen = Vec::new();
    let records = run.dir().to_owned();
    let ran = thread::scope(|scope| {
        scope.spawn(|| meanwhile(&records));
        for binary in &binaries {
            place.list(binary, &[], stop)?;
        }
        batches
            .iter()
            .zip(&binaries)
            .try_for_each(|((_, tests), binary)| {
                let job = Job {
                    tests: tests.iter().map(job_test).collect(),
                    binary,
                    run: &run,
                    questions: &[],
                    steps_per_ms: 0.0,
                    stop,
                };
                place.run(&job, &mut |bytes| {
                    if screen.len() < MAX_SCREEN_BYTES {
                        screen.extend_from_slice(bytes);
                    }
                })
            })
    });
    ran.map_err(|error| anyhow::anyhow!("{error}"))?;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    println!("{screen}");
    Ok((run.merge()?, screen))
}

fn job_test(name: &&str) -> JobTest {
    JobTest {
        name: (*name).to_owned(),
        limit: None,
        attempts: 1,
        own_machine: name.contains("own_machine"),
    }
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_kernel_panic_fails_the_test_that_caused_it() -> Result<()> {
    let tests = ["a_passes", "b_panics_the_kernel", "c_passes", "i_fails"];
    let (outcomes, screen) = run(&tests, |_| {})?;
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, "a_passes"), Outcome::Passed);
    assert_eq!(kind(&outcomes, "c_passes"), Outcome::Passed);
    assert_eq!(kind(&outcomes, "i_fails"), Outcome::Failed);
    let panicked = outcome(&outcomes, "b_panics_the_kernel");
    assert_eq!(panicked.outcome, Outcome::Failed);
    assert_eq!(panicked.place, "vm:6.1");
    let console = &panicked.reasons[0].observed;
    assert!(console.contains("Kernel panic - not syncing"), "{console}");
    assert!(screen.contains("expected failure"), "{screen}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn an_own_machine_is_not_shared() -> Result<()> {
    let tests = ["k_writes_a_mark", "l_needs_own_machine", "m_reads_the_mark"];
    let (outcomes, _) = run(&tests, |_| {})?;
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    for test in tests {
        assert_eq!(kind(&outcomes, test), Outcome::Passed, "{test}");
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_hung_kernel_fails_the_running_test() -> Result<()> {
    let (outcomes, _) = run(&["d_hangs_the_kernel", "e_passes"], |_| {})?;
    assert_eq!(kind(&outcomes, "e_passes"), Outcome::Passed);
    let hung = outcome(&outcomes, "d_hangs_the_kernel");
    assert_eq!(hung.outcome, Outcome::Failed);
    let console = &hung.reasons[0].observed;
    assert!(console.contains("Kernel panic"), "{console}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_killed_qemu_fails_the_running_test() -> Result<()> {
    let tests = ["a_passes", "f_blocks", "j_writes_the_scratch_disk"];
    let (outcomes, _) = run(&tests, |records| {
        await_record(records, "f_blocks");
        for qemu in vms() {
            kill(qemu, Signal::SIGKILL).expect("a signal");
        }
    })?;
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, tests[0]), Outcome::Passed);
    assert_eq!(kind(&outcomes, tests[2]), Outcome::Passed);
    let waited = outcome(&outcomes, tests[1]);
    assert_eq!(waited.outcome, Outcome::Failed);
    assert!(
        waited.reasons[0].observed.contains("signal: 9"),
        "{waited:?}"
    );
    assert_eq!(vms(), [], "QEMU is left");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_stopped_run_ends_its_guest_and_fails_no_test() -> Result<()> {
    let tests = ["f_blocks", "j_writes_the_scratch_disk"];
    let (stop_reader, mut stop_writer) = std::io::pipe()?;
    let stop = StopToken::when_readable(stop_reader.as_fd());
    let (outcomes, _) = run_until(stop, &tests, move |records| {
        await_record(records, tests[0]);
        stop_writer.write_all(b"!").expect("a word");
    })?;
    assert_eq!(kind(&outcomes, tests[0]), Outcome::Lost);
    assert_eq!(outcomes.len(), 1, "nothing more was begun: {outcomes:#?}");
    assert_eq!(vms(), [], "QEMU is left");
    Ok(())
}

/// Waits until a record shows that a test has started. The folder may not exist yet.
pub(crate) fn await_record(folder: &Path, test: &str) {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        // Watched first, so that no change is missed.
        let changes = watch(folder);
        if has_started(folder, test) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).expect("a short time");
        let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        let changed = poll(&mut fds, left).expect("events");
        assert!(changed > 0, "{test} does not start");
    }
}

/// Watches a folder, or its nearest ancestor that exists.
fn watch(folder: &Path) -> Inotify {
    let nearest = || folder.ancestors().find(|folder| folder.is_dir());
    loop {
        let watched = nearest().expect("a root");
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify");
        let changes =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(watched, changes).expect("a watch");
        if nearest() == Some(watched) {
            return inotify;
        }
    }
}

fn has_started(folder: &Path, test: &str) -> bool {
    let started = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        // Attempt 0 is the runner's record of a test that is going to run.
        text.lines().any(|line| {
            let is_own = !line.contains("\"attempt\":0");
            is_own && line.contains(test) && line.contains("\"lost\"")
        })
    };
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(started)
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn time_limits_scale_with_slowness() -> Result<()> {
    let (outcomes, _) = run(&["g_is_slow", "h_never_ends"], |_| {})?;
    assert_eq!(kind(&outcomes, "g_is_slow"), Outcome::Passed);
    assert_eq!(kind(&outcomes, "h_never_ends"), Outcome::TimedOut);
    Ok(())
}

/// Returns the child processes that are QEMU.
fn vms() -> Vec<Pid> {
    let mut children: Vec<i32> = Vec::new();
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        children.extend::<Vec<i32>>(pids.collect());
    }
    let is_vm = |pid: &i32| {
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        line.is_ok_and(|line| String::from_utf8_lossy(&line).contains("iothread-it,"))
    };
    children
        .into_iter()
        .filter(is_vm)
        .map(Pid::from_raw)
        .collect()
}
