//! Child processes by fork: one for a test, or one that answers a question under a deadline.
#![expect(
    unsafe_code,
    reason = "fork(2), _exit(2) and setenv(3) have no safe form"
)]

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};

use super::pipe::pipe;

/// Forks; the child runs `work` and, if that does not end the process, leaves at once.
///
/// `work` may do anything if the process has one thread. Otherwise it has to keep to what is safe
/// in a signal handler: another thread may hold any lock for ever.
pub fn fork(work: impl FnOnce(Pid)) -> Result<Pid, Errno> {
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

/// Makes the calling child the leader of its own process group, and mortal.
pub fn become_leader(parent: Pid) {
    // The parent does the same, so whoever comes first wins and the other's failure is no matter.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    die_with(parent);
}

/// Makes the calling child mortal: when its parent dies, it dies too. A change of user undoes this.
pub fn die_with(parent: Pid) {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // The parent may have died before the line above; then nobody waits for this process.
    if getppid() != parent {
        leave(1);
    }
}

/// Sets variables of a forked child.
pub fn set_variables(variables: &[(&str, &OsStr)]) {
    for (name, value) in variables {
        // SAFETY: a child that was forked from a process with one thread has one thread, so that
        // nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Leaves at once, running nothing that was registered for the end of the process.
fn leave(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { nix::libc::_exit(code) }
}

/// How a child that was asked something ended.
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
type Sends<'a> = dyn Fn(&[u8]) + 'a;

/// Runs `work` in a child for at most `limit` and returns what it answers.
///
/// `work` gets a function that sends the answer. In a process with several threads it has to keep
/// to what is safe in a signal handler, as in [`fork`].
pub fn answer_within(limit: Duration, work: impl Fn(&Sends<'_>)) -> Result<Bounded, Errno> {
    answer(limit, &work)
}

/// Compiled once, not for each question.
fn answer(limit: Duration, work: &dyn Fn(&Sends<'_>)) -> Result<Bounded, Errno> {
    let deadline = Instant::now() + limit;
    let (read, write) = pipe()?;
    let child = fork(|parent| {
        become_leader(parent);
        work(&|answer| send(write.as_fd(), answer));
    })?;
    let _ = setpgid(child, child);
    drop(write);
    let answer = receive(read, deadline);
    let _ = killpg(child, Signal::SIGKILL);
    Ok(match answer {
        Some(Ok(answer)) => {
            let _ = waitpid(child, None);
            Bounded::Answer(answer)
        }
        Some(Err(())) => Bounded::Died(ending(waitpid(child, None))),
        // A child that hangs inside the kernel outlives SIGKILL: it is not waited for.
        None => {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
            Bounded::TooLate
        }
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
        if let Some((length, answer)) = received.split_first_chunk::<4>()
            && answer.len() >= u32::from_le_bytes(*length) as usize
        {
            return Some(Ok(answer.to_vec()));
        }
        if !readable(from.as_fd(), deadline) {
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

/// Waits until there is something to read; `false` at the deadline.
pub(super) fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last millisecond is no busy loop.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], left) {
            Ok(0) if Instant::now() >= deadline => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

fn ending(status: Result<WaitStatus, Errno>) -> String {
    match status {
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("died of {signal}"),
        Ok(WaitStatus::Exited(_, code)) => format!("left with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the three ways to end. The children do nothing but raw calls: libtest has threads.

    use super::*;

    #[test]
    fn a_child_never_unwinds_into_its_parents_frames() {
        // Without a panic hook, which another thread may be in.
        let child = fork(|_| std::panic::resume_unwind(Box::new(()))).expect("a child");
        let status = waitpid(child, None).expect("its end");
        let aborted = matches!(status, WaitStatus::Signaled(_, Signal::SIGABRT, _));
        assert!(aborted, "{status:?}");
    }

    #[test]
    fn an_answer_arrives_whole() {
        let answer = answer_within(Duration::from_secs(10), |send| send(b"forty-two"));
        assert_eq!(answer, Ok(Bounded::Answer(b"forty-two".to_vec())));
    }

    #[test]
    fn an_empty_answer_is_an_answer() {
        let answer = answer_within(Duration::from_secs(10), |send| send(b""));
        assert_eq!(answer, Ok(Bounded::Answer(Vec::new())));
    }

    #[test]
    fn a_silent_end_is_told_from_an_answer() {
        let answer = answer_within(Duration::from_secs(10), |_| {});
        assert!(matches!(answer, Ok(Bounded::Died(_))), "{answer:?}");
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let answer = answer_within(Duration::from_millis(50), |_| {
            loop {
                std::hint::spin_loop();
            }
        });
        assert_eq!(answer, Ok(Bounded::TooLate));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
