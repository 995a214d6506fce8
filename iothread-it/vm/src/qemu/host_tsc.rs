//! The frequency of this host's time-stamp counter (TSC). Under TCG it is the frequency of the guest's too.
//!
//! An x86 kernel measures the TSC against the timer chip (PIT) early in its boot. The counter of that chip wraps
//! after 55 ms, so the result is wrong by a factor of up to 256 if the host does not run the guest for one such
//! period in the middle of it. Later measurements then differ by more than the 1 % that the kernel accepts, and
//! its clock stays slow: delays take minutes, and an emulated KVM seems to be as fast as hardware. With
//! `tsc_early_khz=` the kernel does not measure early (`arch/x86/kernel/tsc.c`, since 4.20).

use std::sync::OnceLock;

/// Returns the frequency in kHz, or `None` if the TSC has no constant frequency.
pub(super) fn khz() -> Option<u64> {
    static KHZ: OnceLock<Option<u64>> = OnceLock::new();
    *KHZ.get_or_init(measured_khz)
}

#[cfg(not(target_arch = "x86_64"))]
fn measured_khz() -> Option<u64> {
    None
}

#[cfg(target_arch = "x86_64")]
use x86_64::measured_khz;

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the standard library has the TSC only as an intrinsic"
)]
mod x86_64 {
    use std::arch::x86_64::_rdtsc;
    use std::time::{Duration, Instant};

    /// Between the two readings. A reading takes less than 1 µs, so the error is below 0.01 %.
    const INTERVAL: Duration = Duration::from_millis(10);

    /// How often a reading is tried. The thread may be preempted in the middle of one.
    const TRIES: usize = 8;

    pub(super) fn measured_khz() -> Option<u64> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let flags = cpus.lines().find(|line| line.starts_with("flags"))?;
        if !flags.split(' ').any(|flag| flag == "constant_tsc") {
            return None;
        }
        let (start, first) = reading();
        std::thread::sleep(INTERVAL);
        let (end, last) = reading();
        let ticks = u128::from(last.checked_sub(first)?);
        let khz = ticks * 1_000_000 / (end - start).as_nanos();
        u64::try_from(khz).ok()
    }

    /// The clock and the TSC of one moment.
    fn reading() -> (Instant, u64) {
        let tries = (0..TRIES).map(|_| {
            let before = Instant::now();
            // SAFETY: every x86_64 CPU has the instruction, and Linux allows it unless a process forbids it
            // for itself (PR_SET_TSC), which none of ours does.
            let tsc = unsafe { _rdtsc() };
            (before.elapsed(), before, tsc)
        });
        let (took, before, tsc) = tries.min().expect("it is tried more than once");
        (before + took / 2, tsc)
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: this host. `cargo-kata-test` compares the value with what a guest measures.

    use super::*;

    #[test]
    fn measurements_agree() {
        // A host without a constant frequency has none each time.
        let first = khz();
        for _ in 0..10 {
            let next = measured_khz();
            let agrees = match (first, next) {
                (Some(first), Some(next)) => next.abs_diff(first) <= first / 1000,
                (first, next) => first == next,
            };
            assert!(agrees, "{next:?}, not {first:?}");
        }
    }
}
