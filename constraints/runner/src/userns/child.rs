//! What happens between fork and exec. Three processes: the supervisor, which the runner sees, stays outside and
//! ends as the program does; init, process 1 of the namespaces; and the program. The kernel kills all that is
//! inside when init ends, and init when the supervisor ends.
#![expect(
    unsafe_code,
    reason = "a process with threads may make system calls only between fork and exec, and clone(2) and \
              close_range(2) have no safe form"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read, setsid, write};

use super::setup::{self, Step};
use kata_test_host::sys::die_with;

const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The status of a child that was killed before it could tell.
const KILLED: i32 = libc::SIGKILL;

/// Tells init that the ids are mapped.
pub(super) const MAPPED: u8 = b'+';

/// How the child and the runner talk until the program runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Gets the id of init, then each step as it begins.
    pub(super) progress: RawFd,
    /// [`MAPPED`] comes here when the ids are mapped, and another byte if that fails. It hangs up if the runner
    /// dies.
    pub(super) mapped: RawFd,
    /// The writing end of that, which the child must not keep open.
    pub(super) mapped_writer: RawFd,
    /// The runner, which no process outlives.
    pub(super) runner: Pid,
}

/// Who has the streams of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// The runner: the program leads a session of its own, and its whole group gets signals.
    Runner,
    /// The user: the program stays in the group of the runner, which may have a terminal.
    User,
}

/// Returns in the process that becomes the program, in new namespaces. In the other two it does not return,
/// except with an error, which ends them.
///
/// # Safety
///
/// It runs in a child that has just been forked, which execs next.
pub(super) unsafe fn enter(ends: Ends, control: Control) -> io::Result<()> {
    die_with(ends.runner);
    // Until the children run, what comes for them is pending. Of a child that is ignored nothing comes.
    SigSet::all().thread_block()?;
    set_default(Signal::SIGCHLD)?;
    let (status, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: neither process does more than system calls before it ends or execs.
    if let Some(init) = unsafe { clone_into(NAMESPACES) }? {
        drop(writer);
        tell(ends.progress, &init.as_raw().to_ne_bytes());
        let status = keep_only(status);
        supervise(init, init);
        let mut bytes = [0; 4];
        let told = read(&status, &mut bytes) == Ok(bytes.len());
        end_like(if told {
            i32::from_ne_bytes(bytes)
        } else {
            KILLED
        });
    }
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    drop(status);
    // SAFETY: this process uses neither that descriptor again.
    let mapped = unsafe {
        libc::close(ends.mapped_writer);
        std::os::fd::BorrowedFd::borrow_raw(ends.mapped)
    };
    let mut answer = [0];
    if read(mapped, &mut answer) != Ok(1) || answer[0] != MAPPED {
        return Err(Errno::EPERM.into());
    }
    if control == Control::Runner {
        setsid()?;
    }
    setup::prepare(&|step: Step| tell(ends.progress, &[step as u8]))?;
    tell(ends.progress, &[Step::Exec as u8]);
    // SAFETY: as above.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            let writer = keep_only(writer);
            let to = match control {
                Control::Runner => Pid::from_raw(-child.as_raw()),
                Control::User => child,
            };
            let status = supervise(child, to);
            let _ = write(&writer, &status.to_ne_bytes());
            exit(0)
        }
        ForkResult::Child => {
            if control == Control::Runner {
                setsid()?;
            }
            SigSet::empty().thread_set_mask()?;
            Ok(())
        }
    }
}

/// Forks into new namespaces. Returns the child's id in the parent.
unsafe fn clone_into(flags: libc::c_int) -> nix::Result<Option<Pid>> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    const NONE: libc::c_long = 0;
    // The child goes on with a copy of this stack, as after fork(2).
    let (first, second) = if cfg!(target_arch = "s390x") {
        (NONE, flags)
    } else {
        (flags, NONE)
    };
    // SAFETY: without CLONE_VM the child shares no memory; the caller answers for what it does.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, NONE, NONE, NONE) };
    let pid = Errno::result(pid)?;
    // A process id is an int.
    Ok((pid != 0).then(|| Pid::from_raw(pid as libc::pid_t)))
}

/// Passes signals on, and reaps children, until this one has ended. Returns its status.
fn supervise(child: Pid, signalled: Pid) -> i32 {
    loop {
        match SigSet::all().wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = reap(child) {
                    return status;
                }
            }
            Ok(signal) => drop(kill(signalled, signal)),
            // A signal that nix has no name for.
            Err(_) => {}
        }
    }
}

/// Reaps all children that have ended. Returns the status of this one if it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: the call writes one status.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 | -1 => return found,
            pid if pid == child.as_raw() => found = Some(status),
            _ => {}
        }
    }
}

/// Ends this process in the way of a process with this status.
fn end_like(status: i32) -> ! {
    if !libc::WIFSIGNALED(status) {
        exit(libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    // Its memory is the runner's.
    let _ = prctl::set_dumpable(false);
    if let Ok(signal) = Signal::try_from(signal) {
        // SIGKILL has no other.
        let _ = set_default(signal);
        let _ = SigSet::empty().thread_set_mask();
        let _ = kill(Pid::this(), signal);
    }
    exit(128 + signal)
}

fn set_default(signal: Signal) -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this process.
    unsafe { sigaction(signal, &default) }.map(drop)
}

/// Closes all descriptors but the standard streams and this one: nothing that waits for a pipe of the
/// runner's to hang up waits for this process.
fn keep_only(fd: OwnedFd) -> OwnedFd {
    let number = fd.as_raw_fd();
    let close = |first: RawFd, last: RawFd| {
        if first > last {
            return;
        }
        // SAFETY: what is closed is not used again in this process, which ends without destructors.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
            return;
        }
        // Before Linux 5.9.
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: the call fills the limit in, or fails.
        let limit = unsafe {
            match libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) {
                0 => limit.assume_init().rlim_cur,
                _ => 1024,
            }
        };
        let end = RawFd::try_from(limit).unwrap_or(RawFd::MAX).min(1 << 20);
        for fd in first..=last.min(end) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    };
    close(3, number - 1);
    close(number.max(2) + 1, RawFd::MAX);
    fd
}

/// Writes a few bytes to a pipe that has room for them.
fn tell(to: RawFd, bytes: &[u8]) {
    // SAFETY: the descriptor is open until this process closes all of them.
    let to = unsafe { std::os::fd::BorrowedFd::borrow_raw(to) };
    let _ = write(to, bytes);
}

fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}
