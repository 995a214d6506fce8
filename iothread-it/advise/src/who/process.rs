//! A process and its threads, from `/proc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;

/// A process, with the threads that it had when it was read.
pub(super) struct Process {
    pub(super) pid: i32,
    folder: PathBuf,
    threads: Vec<Thread>,
}

/// A thread.
pub(super) struct Thread {
    /// Its id here.
    pub(super) tid: i32,
    /// Its id in the process's own namespace of process ids, which is what QEMU reports.
    own_tid: i32,
}

impl Process {
    pub(super) fn of(pid: i32) -> Result<Self, Error> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let threads = threads(&folder).map_err(|source| Error::Process { pid, source })?;
        Ok(Self {
            pid,
            folder,
            threads,
        })
    }

    pub(super) fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Whether it has this thread, by the id that QEMU reports.
    pub(super) fn has_thread(&self, own_tid: i32) -> bool {
        self.tid(own_tid).is_some()
    }

    /// The id here of a thread that QEMU reports.
    pub(super) fn tid(&self, own_tid: i32) -> Option<i32> {
        let mut threads = self.threads.iter();
        let thread = threads.find(|thread| thread.own_tid == own_tid)?;
        Some(thread.tid)
    }

    /// The arguments that it was started with.
    pub(super) fn arguments(&self) -> Result<Vec<String>, Error> {
        let bytes = fs::read(self.folder.join("cmdline"));
        let bytes = bytes.map_err(|source| Error::Process {
            pid: self.pid,
            source,
        })?;
        let arguments = bytes.split(|byte| *byte == 0);
        Ok(arguments
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect())
    }

    /// A file as this process sees it: relative to its working directory, and below its root.
    pub(super) fn path(&self, seen: &Path) -> PathBuf {
        match seen.strip_prefix("/") {
            Ok(below) => self.folder.join("root").join(below),
            Err(_) => self.folder.join("cwd").join(seen),
        }
    }

    /// The CPU time of a thread; nothing if the thread has ended.
    pub(super) fn cpu_time(&self, tid: i32) -> Option<Duration> {
        let file = self.folder.join(format!("task/{tid}/schedstat"));
        cpu_time(&fs::read_to_string(file).ok()?)
    }
}

fn threads(process: &Path) -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(process.join("task"))? {
        let folder = entry?.path();
        // A thread can end meanwhile.
        let Ok(status) = fs::read_to_string(folder.join("status")) else {
            continue;
        };
        let tid = folder.file_name().and_then(|name| name.to_str());
        if let Some(tid) = tid.and_then(|tid| tid.parse().ok()) {
            threads.push(Thread {
                tid,
                own_tid: own_tid(&status).unwrap_or(tid),
            });
        }
    }
    Ok(threads)
}

/// The last number of `NSpid:`, the id in the innermost namespace.
fn own_tid(status: &str) -> Option<i32> {
    let mut lines = status.lines();
    let ids = lines.find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().next_back()?.parse().ok()
}

/// The first number of `schedstat`: time on a CPU, in nanoseconds.
fn cpu_time(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_id_of_a_thread_is_its_own() {
        assert_eq!(
            own_tid("Name:\tx\nNSpid:\t4711\t12\t7\nNSpgid:\t1\n"),
            Some(7)
        );
        assert_eq!(own_tid("Name:\tx\nNSpid:\t4711\n"), Some(4711));
        assert_eq!(own_tid("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_threads_that_use_cpu_time() {
        let pid = i32::try_from(std::process::id()).expect("a process id");
        let process = Process::of(pid).expect("this process");
        assert!(process.has_thread(pid));
        let before = process.cpu_time(pid).expect("a time");
        let until = std::time::Instant::now() + Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        // The test's own thread is another one of this process.
        let gained: Duration = Process::of(pid)
            .expect("this process")
            .threads()
            .iter()
            .filter_map(|thread| process.cpu_time(thread.tid))
            .sum();
        assert!(gained > before);
    }

    #[test]
    fn a_path_is_that_of_the_process() {
        let process = Process {
            pid: 7,
            folder: "/proc/7".into(),
            threads: Vec::new(),
        };
        let path = |seen: &str| process.path(Path::new(seen));
        assert_eq!(path("/run/q.sock"), Path::new("/proc/7/root/run/q.sock"));
        assert_eq!(path("q.sock"), Path::new("/proc/7/cwd/q.sock"));
    }
}
