//! A bounded load on a disk: what the host asks for to see which of its threads works.

mod latency;
mod plan;
mod ring;
mod running;
mod share;
mod worker;

use std::thread;
use std::time::Instant;

use guest_agent::protocol::{Disk, Failure, Load, LoadReport};
use plan::Plan;
use running::Running;
use worker::{Tally, Worker};

use crate::{cpus, failure};

/// Runs a load until it ends. Calls `running` once every thread has completed an operation.
pub(crate) fn run(
    load: &Load,
    disk: &Disk,
    running: impl Fn() + Sync,
) -> Result<LoadReport, Failure> {
    let online = cpus::online().map_err(failure::bad_request)?;
    let plan = Plan::new(load, disk, &online, plan::memory()?)?;
    // All of them are made before the first starts: what cannot be made is then said at once.
    let workers: Vec<_> = (0..plan.threads())
        .map(|index| Worker::new(&plan, index))
        .collect::<Result<_, _>>()?;

    let running = Running::new(workers.len(), &running);
    let start = Instant::now();
    let end = start + plan.duration();
    let tally = thread::scope(|scope| {
        let started: Vec<_> = workers
            .into_iter()
            .map(|worker| spawn(scope, worker, end, &running))
            .collect();
        // Every thread is joined by the scope, so an error of one hides nothing but its tally.
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
        .map_err(|error| failure::io("start a thread of the load", &error))
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

    /// Runs a load on a file, and returns what the file holds then. A host may forbid io_uring:
    /// then the load has to say that, and there is nothing to return.
    fn run_on_file(load: &Load, running: impl Fn() + Sync) -> Option<(LoadReport, Vec<u8>)> {
        let folder = std::env::current_exe().unwrap();
        let file = NamedTempFile::new_in(folder.parent().unwrap()).unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let disk = Disk {
            serial: load.extent.serial.clone(),
            // An absolute path stays what it is below `/dev`.
            name: file.path().to_str().unwrap().into(),
            // More than the file has, so that a test can leave it.
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
    fn a_load_of_writes_leaves_the_pattern_and_counts() {
        let told = AtomicU32::new(0);
        let running = || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        // Each thread has 21 or 22 blocks, so that 30 operations reach all and wrap around.
        if let Some((report, bytes)) = run_on_file(&load(Direction::Write, 30), running) {
            assert_eq!(report.operations, 3 * 30);
            assert_eq!(report.bytes, 3 * 30 * 4096);
            assert_eq!((report.errors, report.first_error), (0, None));
            assert_eq!(told.into_inner(), 1);
            assert_eq!(pattern::first_mismatch(9, 0, &bytes), None);
        }
    }

    #[test]
    fn a_load_of_reads_changes_nothing() {
        // Fewer than are kept outstanding.
        if let Some((report, bytes)) = run_on_file(&load(Direction::Read, 2), || ()) {
            assert_eq!((report.operations, report.errors), (6, 0));
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_load_ends_with_its_time() {
        // More than so little time is enough for, and few enough to end where time does not.
        let operations = 400_000;
        let mut load = load(Direction::Read, operations);
        load.duration_ms = 400;
        let (tell, told) = mpsc::channel();
        let start = Instant::now();
        let running = || tell.send(start.elapsed()).unwrap();
        if let Some((report, _)) = run_on_file(&load, running) {
            assert!(report.elapsed_ms >= 400, "{report:?}");
            assert!(
                (1..3 * operations).contains(&report.operations),
                "{report:?}"
            );
            let told = told.recv().unwrap().as_millis();
            assert!(
                told < 400,
                "told to be running only after {told} ms, at the end"
            );
        }
    }

    #[test]
    fn an_error_ends_a_thread_and_is_no_failure_of_the_load() {
        let mut load = load(Direction::Read, 30);
        load.extent.offset = SIZE;
        let told = AtomicU32::new(0);
        let running = || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        if let Some((report, _)) = run_on_file(&load, running) {
            // Only what was outstanding at the first error fails too.
            assert!((3..=3 * 5).contains(&report.errors), "{report:?}");
            let first = report.first_error.as_deref();
            assert_eq!(first, Some("only 0 of 4096 bytes were transferred"));
            assert_eq!((report.operations, told.into_inner()), (0, 1));
        }
    }

    #[test]
    fn a_thread_works_on_its_cpu() {
        let here = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let allowed = here();
        let last = (0..CpuSet::count())
            .rfind(|&cpu| allowed.is_set(cpu).unwrap())
            .unwrap();
        let mut load = load(Direction::Read, 1);
        (load.threads, load.cpus) = (1, vec![u32::try_from(last).unwrap()]);
        let mut expected = CpuSet::new();
        expected.set(last).unwrap();
        // The thread that completes an operation says so itself.
        run_on_file(&load, || assert_eq!(here(), expected));
    }
}
