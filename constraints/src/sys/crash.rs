//! Prints a backtrace when this process crashes.
#![expect(
    unsafe_code,
    reason = "sigaction(2) and sigaltstack(2) have no safe form"
)]

use std::backtrace::Backtrace;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use nix::libc::{self, c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{alarm, pause};

use super::signals::set_default;
use super::stderr;

const CRASHES: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
];

/// The stack for the handler. Reading debug information takes more than std's handlers have.
const STACK: usize = 1 << 20;

/// How many seconds a backtrace may take. A process that crashes within malloc(3) holds a lock that the backtrace
/// waits for.
const LIMIT: u32 = 10;

/// The process that has the handlers. One that it forks dies without a backtrace.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// The thread that has crashed first.
static THREAD: AtomicUsize = AtomicUsize::new(0);

/// Its signal.
static CRASH: AtomicI32 = AtomicI32::new(0);

/// Whether std has found no stack overflow, which it would report and abort at.
static IS_NO_OVERFLOW: AtomicBool = AtomicBool::new(false);

/// What std does at SIGSEGV and SIGBUS.
static OF_STD: [AtomicPtr<c_void>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Prints a backtrace to standard error at a signal that a crash causes, before that signal ends the process. At
/// SIGSEGV and SIGBUS only the calling thread has one: std's stacks for handlers of other threads are too small.
pub(crate) fn print_backtrace_at_crash() {
    let stack: &'static mut [u8] = vec![0; STACK].leak();
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: STACK,
    };
    // SAFETY: nothing else refers to the leaked memory.
    if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
        return;
    }
    PROCESS.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
    for signal in CRASHES {
        let of_std = of_std(signal as c_int);
        let mut flags = SaFlags::SA_SIGINFO | SaFlags::SA_NODEFER;
        flags.set(SaFlags::SA_ONSTACK, of_std.is_some());
        let action = SigAction::new(SigHandler::SigAction(crashed), flags, SigSet::empty());
        // SAFETY: the process ends after the handler, which may therefore do what a handler that returns must not: it
        // allocates and takes locks. If it waits for a lock that the crashed code holds, `give_up` ends the process.
        let old = unsafe { sigaction(signal, &action) }.map(|old| old.handler());
        if let (Some(of_std), Ok(SigHandler::SigAction(old))) = (of_std, old) {
            of_std.store(old as *mut c_void, Ordering::Relaxed);
        }
    }
}

/// Does not return while another thread crashes: the signal is to end the process.
pub(crate) fn await_crash() {
    while CRASH.load(Ordering::Relaxed) != 0 {
        pause();
    }
}

/// Std's handler of a signal at which the stack may have overflowed.
fn of_std(signal: c_int) -> Option<&'static AtomicPtr<c_void>> {
    match signal {
        libc::SIGSEGV => Some(&OF_STD[0]),
        libc::SIGBUS => Some(&OF_STD[1]),
        _ => None,
    }
}

extern "C" fn crashed(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if nix::unistd::getpid().as_raw() != PROCESS.load(Ordering::Relaxed) {
        return end_by(signal);
    }
    // SAFETY: pthread_self(3) has no precondition.
    let this = unsafe { libc::pthread_self() } as usize;
    match THREAD.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => CRASH.store(signal, Ordering::Relaxed),
        // The handler has crashed, or std has reported a stack overflow and aborts.
        Err(first) if first == this => {
            return match IS_NO_OVERFLOW.load(Ordering::Relaxed) {
                true => end_by(CRASH.load(Ordering::Relaxed)),
                false => end_by(signal),
            };
        }
        Err(_) => return await_crash(),
    }
    let of_std = of_std(signal).map(|of_std| of_std.load(Ordering::Relaxed));
    if let Some(of_std) = of_std.filter(|of_std| !of_std.is_null()) {
        // SAFETY: the pointer was made from a function of this type.
        let of_std: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(of_std) };
        // It does not return if the stack has overflowed.
        of_std(signal, info, context);
    }
    IS_NO_OVERFLOW.store(true, Ordering::Relaxed);
    if has_room() {
        print_backtrace(signal);
    }
    end_by(signal);
}

fn print_backtrace(signal: c_int) {
    let action = SigAction::new(
        SigHandler::Handler(give_up),
        SaFlags::SA_NODEFER,
        SigSet::empty(),
    );
    // SAFETY: `give_up` makes system calls only.
    let _ = unsafe { sigaction(Signal::SIGALRM, &action) };
    let _ = SigSet::from(Signal::SIGALRM).thread_unblock();
    alarm::set(LIMIT);
    let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
    for text in ["the test crashed with ", name, ":\n"] {
        stderr(text);
    }
    stderr(&format!("{}\n", Backtrace::force_capture()));
}

/// Whether the handler runs on a stack that a backtrace fits on.
fn has_room() -> bool {
    let mut stack = std::mem::MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: the kernel writes all of it if there is no error.
    let stack = unsafe {
        if libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) != 0 {
            return false;
        }
        stack.assume_init()
    };
    stack.ss_flags & libc::SS_ONSTACK == 0 || stack.ss_size >= STACK
}

extern "C" fn give_up(_: c_int) {
    end_by(CRASH.load(Ordering::Relaxed));
}

/// Ends the process as the signal does without a handler.
fn end_by(signal: c_int) {
    if let Ok(signal) = Signal::try_from(signal) {
        set_default(signal);
        let _ = SigSet::from(signal).thread_unblock();
        let _ = raise(signal);
    }
}
