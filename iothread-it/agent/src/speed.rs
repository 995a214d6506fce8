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
    per_s(|number| {
        step(number);
        true
    })
    .unwrap_or_default()
}

/// Returns how often in a second this machine does something that is given its number and returns whether it
/// was done; `None` if it was not.
pub fn per_s(mut step: impl FnMut(u32) -> bool) -> Option<u64> {
    let mut best = None;
    for _ in 0..ATTEMPTS {
        best = best.max(Some(measure(&mut step)?));
    }
    best
}

fn measure(step: &mut impl FnMut(u32) -> bool) -> Option<u64> {
    let start = Instant::now();
    let mut steps = 0_u32;
    loop {
        if !step(steps) {
            return None;
        }
        steps += 1;
        let elapsed = start.elapsed();
        if elapsed >= SPAN {
            return Some((f64::from(steps) / elapsed.as_secs_f64()) as u64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_is_done_less_often() {
        let wait = |time: Duration| {
            per_s(|_| {
                let start = Instant::now();
                while start.elapsed() < time {}
                true
            })
        };
        let rare = wait(Duration::from_micros(500)).unwrap();
        assert!((1..=2000).contains(&rare), "{rare}");
        assert!(wait(Duration::from_micros(5)).unwrap() > rare);
        assert_eq!(per_s(|number| number < 10), None, "a step was not done");
    }
}
