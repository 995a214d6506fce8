//! Forks child processes: for a test, or for an answer under a deadline.
#![expect(
    unsafe_code,
    reason = "fork(2), _exit(2) and setenv(3) have no safe form"
)]

use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};

use super::pipe::pipe;
use super::wait::{Child, readable};

/// Forks; the child runs `work` and, if that does not end the process, leaves at once.
///
/// ```compile_fail,E0133
/// kata_test_host::sys::fork(|_| {});
/// ```
///
/// # Safety
///
/// `work` may do anything if this process has one thread. Otherwise it has to keep to what is safe
/// in a signal handler, and must not allocate: another thread may hold any lock forever.
pub unsafe fn fork(work: impl FnOnce(Pid)) -> Result<Pid, Errno> {
    let parent = getpid();
    // SAFETY: the parent continues unchanged; the caller guarantees what the child does, as stated above.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _guard = AbortOnUnwind;
            work(parent);
            leave(0)
        }
    }
}

/// Aborts a child that unwinds: the frames below belong to its parent, and so does what they clean up.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Makes the calling child the leader of a new process group, and sets PR_SET_PDEATHSIG.
pub fn become_leader(parent: Pid) {
    // The parent does the same; whichever comes second may fail.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    die_with(parent);
}

/// Sets PR_SET_PDEATHSIG for the calling child, so that it is killed when its parent dies. A change of
/// user clears this.
pub fn die_with(parent: Pid) {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // The parent may have died before the call above.
    if getppid() != parent {
        leave(1);
    }
}

/// Exits at once, without running exit handlers.
fn leave(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { nix::libc::_exit(code) }
}

/// Why a child has not answered.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It could not be forked.
    NotForked(Errno),
    /// It ended before, in this way.
    Died(String),
    /// It was killed at its deadline, after this time.
    TooLate(Duration),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForked(errno) => write!(f, "fork: {errno}"),
            Self::Died(how) => write!(f, "the probe {how}"),
            Self::TooLate(limit) => {
                write!(f, "the probe did not answer within {} s", limit.as_secs())
            }
        }
    }
}

/// What is wrong with an answer that cannot be read.
pub const TRUNCATED: &str = "the reply of the probe is truncated";

/// Sends an answer.
pub type Sends<'a> = dyn Fn(&[u8]) + 'a;

/// Runs `work` in a child for at most `limit` and returns what it answers.
///
/// `work` gets a function that sends the answer. A child that has answered still has until the deadline to
/// run its exit hooks, such as that of coverage counters.
///
/// ```compile_fail,E0133
/// kata_test_host::sys::answer_within(std::time::Duration::ZERO, |_| {});
/// ```
///
/// # Safety
///
/// As for [`fork`]: if this process has several threads, `work` has to keep to what is safe in a
/// signal handler, and must not allocate.
pub unsafe fn answer_within(
    limit: Duration,
    work: impl Fn(&Sends<'_>),
) -> Result<Vec<u8>, NoAnswer> {
    // SAFETY: the caller guarantees the same.
    unsafe { answer(limit, &work) }
}

/// Compiled once, not for each question.
unsafe fn answer(limit: Duration, work: &dyn Fn(&Sends<'_>)) -> Result<Vec<u8>, NoAnswer> {
    let deadline = Instant::now() + limit;
    let (read, write) = pipe().map_err(NoAnswer::NotForked)?;
    let run = |parent| {
        become_leader(parent);
        work(&|answer| send(write.as_fd(), answer));
    };
    // SAFETY: the caller guarantees `work`; the rest is system calls.
    let pid = unsafe { fork(run) }.map_err(NoAnswer::NotForked)?;
    let _ = setpgid(pid, pid);
    drop(write);
    let child = Child::of(pid);
    let answer = receive(read, deadline);
    child.wait(deadline);
    let status = child.kill_and_reap();
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(())) => Err(NoAnswer::Died(ending(status))),
        None => Err(NoAnswer::TooLate(limit)),
    }
}

/// Sends a length, then the bytes. Nothing is allocated.
fn send(to: BorrowedFd<'_>, answer: &[u8]) {
    let length = u32::try_from(answer.len()).unwrap_or(u32::MAX);
    for mut bytes in [&length.to_le_bytes()[..], answer] {
        while !bytes.is_empty() {
            match nix::unistd::write(to, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// The answer; `Err` if the child closed its end before, `None` at the deadline.
fn receive(from: OwnedFd, deadline: Instant) -> Option<Result<Vec<u8>, ()>> {
    let mut from = std::fs::File::from(from);
    let mut received = Vec::new();
    loop {
        match received.split_first_chunk::<4>() {
            Some((length, answer)) if answer.len() >= u32::from_le_bytes(*length) as usize => {
                return Some(Ok(answer.to_vec()));
            }
            _ => {}
        }
        if !readable(&[from.as_fd()], deadline) {
            return None;
        }
        let mut chunk = [0; 4096];
        match from.read(&mut chunk) {
            Ok(0) => return Some(Err(())),
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Some(Err(())),
        }
    }
}

/// How a process ended, in words.
pub(super) fn ending(status: Option<WaitStatus>) -> String {
    match status {
        Some(WaitStatus::Signaled(_, signal, _)) => format!("was killed by {signal}"),
        Some(WaitStatus::Exited(_, code)) => format!("exited with code {code}"),
        _ => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the ways to end. The children do nothing but raw calls: libtest has threads.

    use std::io::Write;

    use nix::sys::wait::waitpid;

    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);
    /// In which a child answers, also on a busy machine.
    const ENOUGH: Duration = Duration::from_secs(2);

    fn answer_within(limit: Duration, work: impl Fn(&Sends<'_>)) -> Result<Vec<u8>, NoAnswer> {
        // SAFETY: the work of every test below is system calls and loops.
        unsafe { super::answer_within(limit, work) }
    }

    fn hang() {
        loop {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_child_never_unwinds_into_its_parents_frames() {
        // Without a panic hook, which another thread may be in.
        let unwind = |_| std::panic::resume_unwind(Box::new(()));
        // SAFETY: what unwinds takes no lock before the child aborts.
        let child = unsafe { fork(unwind) }.expect("a child");
        let status = waitpid(child, None).expect("its end");
        let aborted = matches!(status, WaitStatus::Signaled(_, Signal::SIGABRT, _));
        assert!(aborted, "{status:?}");
    }

    #[test]
    fn an_answer_arrives_whole() {
        let answer = answer_within(AMPLE, |send| send(b"forty-two"));
        assert_eq!(answer, Ok(b"forty-two".to_vec()));
    }

    #[test]
    fn an_empty_answer_is_an_answer() {
        let answer = answer_within(AMPLE, |send| send(b""));
        assert_eq!(answer, Ok(Vec::new()));
    }

    #[test]
    fn exit_without_an_answer_is_reported() {
        let died = |how: &str| Err(NoAnswer::Died(how.to_owned()));
        let answer = answer_within(AMPLE, |_| {});
        assert_eq!(answer, died("exited with code 0"));
        let answer = answer_within(AMPLE, |_| leave(7));
        assert_eq!(answer, died("exited with code 7"));
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let answer = answer_within(SHORT, |_| hang());
        assert_eq!(answer, Err(NoAnswer::TooLate(SHORT)));
        assert!(start.elapsed() < AMPLE);
    }

    #[test]
    fn a_child_that_has_answered_and_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let answer = answer_within(ENOUGH, |send| {
            send(b"yes");
            hang();
        });
        assert_eq!(answer, Ok(b"yes".to_vec()));
        assert!(start.elapsed() >= ENOUGH && start.elapsed() < AMPLE);
    }

    #[test]
    fn no_child_stays_a_zombie() {
        for answers in [true, false] {
            for hangs in [true, false] {
                let (mut read, write) = std::io::pipe().expect("a pipe");
                let ended = answer_within(SHORT, |send| {
                    let _ = (&write).write_all(&getpid().as_raw().to_ne_bytes());
                    if answers {
                        send(b"");
                    }
                    if hangs {
                        hang();
                    }
                });
                let mut pid = [0; 4];
                read.read_exact(&mut pid).expect("a process id");
                let reaped = waitpid(Pid::from_raw(i32::from_ne_bytes(pid)), None);
                assert_eq!(reaped, Err(Errno::ECHILD), "{ended:?}");
            }
        }
    }
}
