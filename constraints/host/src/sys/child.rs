//! Child processes by fork: one for a test, or one that answers a question under a deadline.
#![expect(
    unsafe_code,
    reason = "fork(2), _exit(2) and setenv(3) have no safe form"
)]

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
/// in a signal handler, and must not allocate: another thread may hold any lock for ever.
pub unsafe fn fork(work: impl FnOnce(Pid)) -> Result<Pid, Errno> {
    let parent = getpid();
    // SAFETY: the parent goes on unchanged; what the child may do is the caller's duty above.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _guard = AbortOnUnwind;
            work(parent);
            leave(0)
        }
    }
}

/// Ends a child that unwinds: the frames below are its parent's, and so is what these would clean up.
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

/// How a child that was to answer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Bounded {
    /// It answered.
    Answer(Vec<u8>),
    /// It ended without an answer.
    Died(String),
    /// It was killed at its deadline.
    TooLate,
}

/// Sends an answer.
pub type Sends<'a> = dyn Fn(&[u8]) + 'a;

/// Runs `work` in a child for at most `limit` and returns what it answers.
///
/// `work` gets a function that sends the answer. A child that has answered still has until the
/// deadline to end by itself, as its exit hooks (coverage counters among them) need.
///
/// ```compile_fail,E0133
/// kata_test_host::sys::answer_within(std::time::Duration::ZERO, |_| {});
/// ```
///
/// # Safety
///
/// As for [`fork`]: if this process has several threads, `work` has to keep to what is safe in a
/// signal handler, and must not allocate.
pub unsafe fn answer_within(limit: Duration, work: impl Fn(&Sends<'_>)) -> Result<Bounded, Errno> {
    // SAFETY: the caller's duty is the same.
    unsafe { answer(limit, &work) }
}

/// Compiled once, not for each question.
unsafe fn answer(limit: Duration, work: &dyn Fn(&Sends<'_>)) -> Result<Bounded, Errno> {
    let deadline = Instant::now() + limit;
    let (read, write) = pipe()?;
    let run = |parent| {
        become_leader(parent);
        work(&|answer| send(write.as_fd(), answer));
    };
    // SAFETY: `work` keeps to what the caller promises, and beside it there are system calls only.
    let pid = unsafe { fork(run) }?;
    let _ = setpgid(pid, pid);
    drop(write);
    let child = Child::of(pid);
    let answer = receive(read, deadline);
    child.wait(deadline);
    let status = child.kill_and_reap();
    Ok(match answer {
        Some(Ok(answer)) => Bounded::Answer(answer),
        Some(Err(())) => Bounded::Died(ending(status)),
        None => Bounded::TooLate,
    })
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

    fn answer_within(limit: Duration, work: impl Fn(&Sends<'_>)) -> Result<Bounded, Errno> {
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
        assert_eq!(answer, Ok(Bounded::Answer(b"forty-two".to_vec())));
    }

    #[test]
    fn an_empty_answer_is_an_answer() {
        let answer = answer_within(AMPLE, |send| send(b""));
        assert_eq!(answer, Ok(Bounded::Answer(Vec::new())));
    }

    #[test]
    fn exit_without_an_answer_is_reported() {
        let died = |how: &str| Ok(Bounded::Died(how.to_owned()));
        let answer = answer_within(AMPLE, |_| {});
        assert_eq!(answer, died("exited with code 0"));
        let answer = answer_within(AMPLE, |_| leave(7));
        assert_eq!(answer, died("exited with code 7"));
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let answer = answer_within(SHORT, |_| hang());
        assert_eq!(answer, Ok(Bounded::TooLate));
        assert!(start.elapsed() < AMPLE);
    }

    #[test]
    fn a_child_that_has_answered_and_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let answer = answer_within(SHORT, |send| {
            send(b"yes");
            hang();
        });
        assert_eq!(answer, Ok(Bounded::Answer(b"yes".to_vec())));
        assert!(start.elapsed() >= SHORT && start.elapsed() < AMPLE);
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
