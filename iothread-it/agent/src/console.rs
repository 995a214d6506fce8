//! Messages on the guest's console, and powering off.
//!
//! The kernel opens `/dev/console` for its init as the three standard streams.

use std::io::{Write, stderr};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::tcdrain;

/// Prints a line to the console.
pub(crate) fn log(line: &str) {
    // A failure of the console cannot be reported.
    let _ = writeln!(stderr(), "guest-agent: {line}");
}

/// Prints a reason and powers the guest off. Returns only if that fails; the kernel then panics, because
/// init ends.
pub(crate) fn power_off(reason: &str) -> ExitCode {
    log(reason);
    // Waits until the serial line has transmitted the reason.
    let _ = tcdrain(stderr());
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    log(&format!("cannot power off: {error}"));
    ExitCode::FAILURE
}

/// Makes a panic of any thread power the guest off. Otherwise the thread's request would never be
/// answered.
pub(crate) fn power_off_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        power_off(&info.to_string());
    }));
}
