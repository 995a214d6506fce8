//! How fast this place runs this very program, as a figure that is compared with that of another
//! place: an emulated CPU is no reason for a test to time out.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one measurement takes.
const SPAN: Duration = Duration::from_millis(4);
/// The best of so many counts: whatever disturbs makes it slower.
const ATTEMPTS: usize = 3;

/// How many steps of work are done in a millisecond. A step computes, and calls the kernel.
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

/// Arithmetic, memory, and a system call that is not answered by a library.
fn step(seed: u32) {
    let mut words = [seed; 256];
    for index in 1..words.len() {
        words[index] = words[index - 1].wrapping_mul(0x9e37_79b9).rotate_left(5) ^ seed;
    }
    black_box(words);
    black_box(nix::unistd::getppid());
}
