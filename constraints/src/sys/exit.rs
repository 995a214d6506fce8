//! Being called once more when the process ends.
#![expect(unsafe_code, reason = "atexit(3) has no safe form")]

/// Registers a function for the end of the process; says whether there was room for it.
pub(crate) fn at_exit(function: extern "C" fn()) -> bool {
    // SAFETY: the function is a plain `extern "C" fn` that lives as long as the program.
    unsafe { nix::libc::atexit(function) == 0 }
}
