//! A bounded load on a disk. The host observes which of its threads serves it.

mod latency;
mod plan;
mod ring;
mod running;
mod share;
mod worker;

use std::thread;
use std::time::{Duration, Instant};

use guest_agent::protocol::{Disk, Failure, Load, LoadReport};
use plan::Plan;
use running::Running;
use worker::{Tally, Worker};

use crate::cpus;
use crate::failure::{self, OrFailure};

/// Runs a load to its end. Calls `running` once, when every thread has completed an operation.
pub(crate) fn run(
    load: &Load,
    disk: &Disk,
    running: impl Fn() + Sync,
) -> Result<LoadReport, Failure> {
    let online = cpus::online().map_err(failure::bad_request)?;
    let plan = Plan::new(load, disk, &online, plan::memory()?)?;
    // All are set up before the first one starts, so that an error of any is reported at once.
    let workers: Vec<_> = (0..load.threads)
        .map(|index| Worker::new(&plan, index))
        .collect::<Result<_, _>>()?;

    let running = Running::new(workers.len(), &running);
    let start = Instant::now();
    let end = start + Duration::from_millis(load.duration_ms);
    let tally = thread::scope(|scope| {
        let started: Vec<_> = workers
            .into_iter()
            .map(|worker| spawn(scope, worker, end, &running))
            .collect();
        // The scope joins every thread, also after an error of one.
        started
            .into_iter()
            .map(|thread| thread?.join().expect("a thread that panics ends the guest"))
            .try_fold(Tally::default(), |sum, tally| {
                tally.map(|tally| sum.plus(tally))
            })
    })?;
    Ok(tally.report(start.elapsed()))
}

fn spawn<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    worker: Worker<'scope>,
    end: Instant,
    running: &'scope Running<'scope>,
) -> Result<thread::ScopedJoinHandle<'scope, Result<Tally, Failure>>, Failure> {
    let index = worker.index();
    let work = move || {
        let arrival = running.arrival();
        worker.run(end, arrival)
    };
    thread::Builder::new()
        .name(format!("load {index}"))
        .spawn_scoped(scope, work)
        .or_failure(|| "start a thread of the load".into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use guest_agent::pattern;
    use guest_agent::protocol::{Direction, Extent, FailureKind, Serial};
    use nix::libc::{ENOSYS, EPERM};
    use nix::sched::{CpuSet, sched_getaffinity};
    use nix::unistd::Pid;
    use tempfile::NamedTempFile;

    use super::*;

    const SIZE: u64 = 1 << 18;

    fn load(direction: Direction, operations: u64) -> Load {
        Load {
            extent: Extent {
                serial: Serial("d".into()),
                seed: 9,
                offset: 0,
                length: SIZE,
            },
            direction,
            threads: 3,
            cpus: Vec::new(),
            depth: 5,
            block_size: 4096,
            duration_ms: 60_000,
            operations: Some(operations),
        }
    }

    /// Runs a load on a file, and returns the report and the content of the file. If the host forbids
    /// io_uring, checks the error and returns nothing.
    fn run_on_file(load: &Load, running: impl Fn() + Sync) -> Option<(LoadReport, Vec<u8>)> {
        let folder = std::env::current_exe().unwrap();
        let file = NamedTempFile::new_in(folder.parent().unwrap()).unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let disk = Disk {
            serial: load.extent.serial.clone(),
            // Joined to `/dev`, an absolute path stays the same.
            name: file.path().to_str().unwrap().into(),
            // More than the file has, so that a test can read beyond its end.
            size: 2 * SIZE,
        };
        match run(load, &disk, running) {
            Ok(report) => Some((report, fs::read(file.path()).unwrap())),
            Err(failure) => {
                let forbidden = [ENOSYS, EPERM].map(|errno| FailureKind::Io { errno: Some(errno) });
                assert!(forbidden.contains(&failure.kind), "{failure}");
                assert!(failure.message.contains("io_uring"), "{failure}");
                None
            }
        }
    }

    #[test]
    fn a_load_of_writes_writes_the_pattern_and_counts() {
        let calls = AtomicU32::new(0);
        let running = || {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        // Each thread has 21 or 22 blocks, so that 30 operations reach all and wrap around.
        if let Some((report, bytes)) = run_on_file(&load(Direction::Write, 30), running) {
            assert_eq!(report.operations, 3 * 30);
            assert_eq!(report.bytes, 3 * 30 * 4096);
            assert_eq!((report.errors, report.first_error), (0, None));
            assert_eq!(calls.into_inner(), 1);
            assert_eq!(pattern::first_mismatch(9, 0, &bytes), None);
        }
    }

    #[test]
    fn a_load_of_reads_changes_nothing() {
        // Fewer than the depth.
        if let Some((report, bytes)) = run_on_file(&load(Direction::Read, 2), || ()) {
            assert_eq!((report.operations, report.errors), (6, 0));
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_load_ends_after_its_duration() {
        // More than can be done in this time, and few enough to end if the time limit has no effect.
        let operations = 400_000;
        let mut load = load(Direction::Read, operations);
        load.duration_ms = 400;
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        let running = || sender.send(start.elapsed()).unwrap();
        if let Some((report, _)) = run_on_file(&load, running) {
            assert!(report.elapsed_ms >= 400, "{report:?}");
            assert!(
                (1..3 * operations).contains(&report.operations),
                "{report:?}"
            );
            let called = receiver.recv().unwrap().as_millis();
            assert!(called < 400, "called only after {called} ms, at the end");
        }
    }

    #[test]
    fn an_error_ends_a_thread_and_not_the_load() {
        let mut load = load(Direction::Read, 30);
        load.extent.offset = SIZE;
        let calls = AtomicU32::new(0);
        let running = || {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        if let Some((report, _)) = run_on_file(&load, running) {
            // After the first error, only the outstanding operations fail too.
            assert!((3..=3 * 5).contains(&report.errors), "{report:?}");
            let first = report.first_error.as_deref();
            assert_eq!(first, Some("only 0 of 4096 bytes were transferred"));
            assert_eq!((report.operations, calls.into_inner()), (0, 1));
        }
    }

    #[test]
    fn a_thread_runs_on_its_cpu() {
        let here = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let allowed = here();
        let last = (0..CpuSet::count())
            .rfind(|&cpu| allowed.is_set(cpu).unwrap())
            .unwrap();
        let mut load = load(Direction::Read, 1);
        (load.threads, load.cpus) = (1, vec![u32::try_from(last).unwrap()]);
        let mut expected = CpuSet::new();
        expected.set(last).unwrap();
        // It is called by the thread that completes the operation.
        run_on_file(&load, || assert_eq!(here(), expected));
    }
}
