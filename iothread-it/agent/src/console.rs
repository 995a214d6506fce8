//! The guest's console, the last resort of an agent that the host cannot hear, and the way out.
//!
//! The kernel opens `/dev/console` for its init as the three standard streams.

use std::io::{Write, stderr};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::tcdrain;

/// Says a line on the console.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell that the console does not work.
    let _ = writeln!(stderr(), "guest-agent: {line}");
}

/// Says why, and powers the guest off. Returns only where that is refused; then the kernel
/// panics, because its init ends.
pub(crate) fn power_off(reason: &str) -> ExitCode {
    say(reason);
    // A serial line still holds the reason when the power goes, unless it is drained.
    let _ = tcdrain(stderr());
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    say(&format!("cannot power off: {error}"));
    ExitCode::FAILURE
}

/// Makes a panic of any thread power the guest off. Otherwise a request whose thread panicked
/// would never be answered.
pub(crate) fn power_off_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        power_off(&info.to_string());
    }));
}
