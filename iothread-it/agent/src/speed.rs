//! Measures how fast a machine runs a program, as a figure that is compared with another machine's.
//!
//! Time limits are meant for the host. An emulated CPU is no reason for a program to exceed one, so
//! they are longer in a guest by the ratio of both figures.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The duration of one measurement.
const SPAN: Duration = Duration::from_millis(4);

/// The number of measurements. The best counts: a disturbance makes one slower.
const ATTEMPTS: usize = 3;

/// Returns how many steps of work this machine does in a second. A step computes, and calls the kernel.
#[must_use]
pub fn steps_per_s() -> u64 {
    let measured = (0..ATTEMPTS).map(|_| measure());
    measured.max().unwrap_or_default()
}

fn measure() -> u64 {
    let start = Instant::now();
    let mut steps = 0_u32;
    loop {
        step(steps);
        steps += 1;
        let elapsed = start.elapsed();
        if elapsed >= SPAN {
            return (f64::from(steps) / elapsed.as_secs_f64()) as u64;
        }
    }
}

/// Computes in memory, and makes a system call that no library answers.
fn step(seed: u32) {
    let mut words = [seed; 256];
    for index in 1..words.len() {
        words[index] = words[index - 1].wrapping_mul(0x9e37_79b9).rotate_left(5) ^ seed;
    }
    black_box(words);
    black_box(nix::unistd::getppid());
}
