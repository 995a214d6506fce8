//! Measures the speed of this place with this program. The runner compares it with that of other places, to
//! scale time limits for emulated CPUs.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The duration of one measurement.
const SPAN: Duration = Duration::from_millis(1);
/// The number of measurements, of which the fastest counts: other load makes some slower.
const ATTEMPTS: usize = 3;

/// Returns the number of steps of work in a millisecond.
pub(super) fn steps_per_ms() -> f64 {
    let measured = (0..ATTEMPTS).map(|_| measure());
    measured.fold(0.0, f64::max)
}

fn measure() -> f64 {
    let start = Instant::now();
    let mut steps = 0_u32;
    loop {
        step(steps);
        steps += 1;
        let elapsed = start.elapsed();
        if elapsed >= SPAN {
            return f64::from(steps) / (elapsed.as_secs_f64() * 1e3);
        }
    }
}

/// One step: arithmetic, memory accesses, and a system call that no library caches.
fn step(seed: u32) {
    let mut words = [seed; 256];
    for index in 1..words.len() {
        words[index] = words[index - 1].wrapping_mul(0x9e37_79b9).rotate_left(5) ^ seed;
    }
    black_box(words);
    black_box(nix::unistd::getppid());
}
