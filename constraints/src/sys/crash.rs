//! Prints a backtrace when this process crashes.
#![expect(
    unsafe_code,
    reason = "sigaction(2) and sigaltstack(2) have no safe form"
)]

use std::backtrace::Backtrace;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use nix::libc::{self, c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::alarm;

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
const LIMIT: u32 = 5;

/// The signal of the crash.
static CRASH: AtomicI32 = AtomicI32::new(0);

/// What std does at SIGSEGV and SIGBUS: it reports a stack overflow.
static OF_STD: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

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
    for signal in CRASHES {
        let mut flags = SaFlags::SA_SIGINFO | SaFlags::SA_NODEFER;
        // At these, the stack may have overflowed.
        flags.set(
            SaFlags::SA_ONSTACK,
            matches!(signal, Signal::SIGSEGV | Signal::SIGBUS),
        );
        let action = SigAction::new(SigHandler::SigAction(crashed), flags, SigSet::empty());
        // SAFETY: the process ends after the handler, which may therefore do what a handler that returns must not: it
        // allocates and takes locks. If it waits for a lock that the crashed code holds, `give_up` ends the process.
        let old = unsafe { sigaction(signal, &action) };
        if let Ok(SigHandler::SigAction(of_std)) = old.map(|old| old.handler()) {
            OF_STD.store(of_std as *mut c_void, Ordering::Relaxed);
        }
    }
}

extern "C" fn crashed(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if CRASH.swap(signal, Ordering::Relaxed) != 0 {
        // The handler has crashed, or std has reported a stack overflow and aborts.
        end_by(signal);
        return;
    }
    let of_std = OF_STD.load(Ordering::Relaxed);
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) && !of_std.is_null() {
        // SAFETY: the pointer was made from a function of this type.
        let of_std: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(of_std) };
        // It does not return if the stack has overflowed.
        of_std(signal, info, context);
    }
    if !has_room() {
        end_by(signal);
        return;
    }
    let action = SigAction::new(
        SigHandler::Handler(give_up),
        SaFlags::SA_NODEFER,
        SigSet::empty(),
    );
    // SAFETY: `give_up` makes system calls only.
    let _ = unsafe { sigaction(Signal::SIGALRM, &action) };
    alarm::set(LIMIT);
    let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
    stderr(&format!(
        "the test crashed with {name}:\n{}\n",
        Backtrace::force_capture()
    ));
    end_by(signal);
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
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    if let Ok(signal) = Signal::try_from(signal) {
        // SAFETY: the default disposition runs no code of ours.
        let _ = unsafe { sigaction(signal, &default) };
        let _ = raise(signal);
    }
}
