//! Processes that outlive the test that started them.
//!
//! This process adopts orphans, so each is among its children. The test is found by the process
//! group, the session, or, after exec, a variable in the environment.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};

use super::TestProcess;
use crate::sys::{OWNER, ends_within};

/// How long a killed process may take to end before it is reported as running.
const DYING: Duration = Duration::from_millis(500);

/// An orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

impl Process {
    pub(super) fn kill(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    /// Kills the process, and describes it with the result.
    pub(super) fn end(&self) -> String {
        let alive = match kill(self.pid, Signal::SIGKILL) {
            Err(Errno::ESRCH) => None,
            Err(errno) => Some(format!("kill: {}", errno.desc())),
            Ok(()) if ends_within(self.pid, DYING) => None,
            Ok(()) => Some("not seen to end on SIGKILL".to_owned()),
        };
        match alive {
            None => format!("process {self}, killed"),
            Some(why) => format!("process {self}, still running ({why})"),
        }
    }
}

pub(super) struct Processes {
    /// Children of this process from before exec(2).
    before: Vec<Pid>,
    list: Option<File>,
}

impl Processes {
    pub(super) fn watch() -> Self {
        #[cfg(target_os = "linux")]
        let _ = nix::sys::prctl::set_child_subreaper(true);
        let list = list_of_children();
        Self {
            before: children(list.as_ref()),
            list,
        }
    }

    /// The live orphans, each with the process id of its test if that is known. Dead ones are reaped.
    pub(super) fn orphans(
        &self,
        running: &[TestProcess],
        own: &[Pid],
    ) -> Vec<(Process, Option<Pid>)> {
        let is_own = |pid: &Pid| {
            own.contains(pid)
                || self.before.contains(pid)
                || running.iter().any(|test| test.pid == *pid)
        };
        let mut found = Vec::new();
        for pid in children(self.list.as_ref())
            .into_iter()
            .filter(|pid| !is_own(pid))
        {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            let Some(stat) = Stat::of(pid) else { continue };
            if !stat.is_ending {
                let test = stat.test(running).or_else(|| owner(pid));
                let name = command_line(pid).unwrap_or(stat.name);
                found.push((Process { pid, name }, test));
            }
        }
        found
    }

    /// Whether there are children besides `own`, dying ones included.
    pub(super) fn has_orphans(&self, own: &[Pid]) -> bool {
        let is_own = |pid: &Pid| own.contains(pid) || self.before.contains(pid);
        children(self.list.as_ref()).iter().any(|pid| !is_own(pid))
    }
}

/// Fields of /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    is_ending: bool,
    group: i32,
    session: i32,
}

/// The flag of a process that is about to end, in the kernel's `task_struct`.
const PF_EXITING: u64 = 0x4;

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let stat = Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let is_ending = stat.is_ending || is_killed(pid);
        Some(Self { is_ending, ..stat })
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let flags: u64 = fields.get(6)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            is_ending: matches!(*fields.first()?, "Z" | "X") || flags & PF_EXITING != 0,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
        })
    }

    fn test(&self, running: &[TestProcess]) -> Option<Pid> {
        let leads = |test: &&TestProcess| [self.group, self.session].contains(&test.pid.as_raw());
        running.iter().find(leads).map(|test| test.pid)
    }
}

/// Whether SIGKILL is pending for a process.
fn is_killed(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = |line: &str| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let bit = 1 << (Signal::SIGKILL as i32 - 1);
    status
        .lines()
        .filter_map(pending)
        .any(|mask| mask & bit != 0)
}

/// The test that started a program, directly or not.
fn owner(pid: Pid) -> Option<Pid> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let owner =
        entries.find_map(|entry| entry.strip_prefix(OWNER.as_bytes())?.strip_prefix(b"="))?;
    let (harness, test) = std::str::from_utf8(owner).ok()?.split_once('-')?;
    let is_here = harness.parse() == Ok(getpid().as_raw());
    is_here
        .then(|| test.parse().ok().map(Pid::from_raw))
        .flatten()
}

/// The start of a process's command line.
pub(in crate::harness) fn command_line(pid: Pid) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    let words: String = words.trim().chars().take(80).collect();
    (!words.is_empty()).then_some(words)
}

/// The kernel's list of this process's children, if it was built with one.
fn list_of_children() -> Option<File> {
    File::open(format!("/proc/self/task/{}/children", getpid())).ok()
}

/// The children in the kernel's list, or else in the list of all processes.
fn children(list: Option<&File>) -> Vec<Pid> {
    if let Some(Ok(children)) = list.map(read_list) {
        return children;
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let me = getpid();
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, tail)| tail.split_ascii_whitespace().nth(1)?.parse().ok());
        parent == Some(me.as_raw())
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).map(Pid::from_raw).collect()
}

/// Reads pids, each with a space behind it.
fn read_list(list: &File) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    let (mut pid, mut at) = (0, 0);
    let mut chunk = [0; 256];
    loop {
        let count = list.read_at(&mut chunk, at)?;
        for byte in &chunk[..count] {
            match byte {
                b'0'..=b'9' => pid = pid * 10 + i32::from(byte - b'0'),
                _ => pids.push(Pid::from_raw(std::mem::take(&mut pid))),
            }
        }
        if count == 0 {
            return Ok(pids);
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the form of /proc/PID/stat. Real orphans are in the sample's tests.

    use super::*;

    #[test]
    fn names_with_parentheses_are_read() {
        let line =
            |state: &str, flags: u64| format!("12 (a) b (c) {state} 1 34 56 0 -1 {flags} 0 0");
        let stat = Stat::parse(&line("S", 0)).expect("fields");
        assert_eq!(
            (stat.name.as_str(), stat.group, stat.session),
            ("a) b (c", 34, 56)
        );
        assert!(!stat.is_ending);
        assert!(Stat::parse(&line("Z", 0)).expect("fields").is_ending);
        assert!(
            Stat::parse(&line("R", PF_EXITING))
                .expect("fields")
                .is_ending
        );
        assert_eq!(Stat::parse("12 (sh"), None);
    }
}
