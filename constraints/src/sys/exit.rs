//! Functions that run at the end of the process.
#![expect(unsafe_code, reason = "atexit(3) has no safe form")]

/// Registers a function for the end of the process; returns whether that worked.
pub(crate) fn at_exit(function: extern "C" fn()) -> bool {
    // SAFETY: the function is a plain `extern "C" fn` that lives as long as the program.
    unsafe { nix::libc::atexit(function) == 0 }
}
