//! Alternating measurement of what is compared.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use iothread_advise::Samples;

/// How often to measure: at least `least` rounds, then until `time` is over or `most` is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    least: usize,
    most: usize,
    time: Duration,
}

/// Takes one sample of one of the compared programs.
pub(super) type Side<'a> = &'a mut dyn FnMut() -> Result<f64>;

impl Rounds {
    pub(super) const fn new(quick: bool) -> Self {
        if quick {
            Self {
                least: 3,
                most: 30,
                time: Duration::from_secs(8),
            }
        } else {
            Self {
                least: 7,
                most: 100,
                time: Duration::from_secs(40),
            }
        }
    }

    /// Returns three rounds, for what takes long and varies little.
    pub(super) fn few(self) -> Self {
        Self {
            most: 3,
            least: 3,
            ..self
        }
    }

    /// Takes a sample of each side per round, in the opposite order every other round, so that other
    /// load on the machine affects all of them.
    pub(super) fn interleave<const N: usize>(&self, sides: [Side<'_>; N]) -> Result<[Samples; N]> {
        let start = Instant::now();
        let mut measured = [const { Vec::new() }; N];
        let mut round = 0;
        while round < self.least || (round < self.most && start.elapsed() < self.time) {
            for turn in 0..N {
                let side = if round % 2 == 0 { turn } else { N - 1 - turn };
                measured[side].push(sides[side]()?);
            }
            round += 1;
        }
        let samples: Vec<_> = measured
            .into_iter()
            .map(Samples::new)
            .collect::<Result<_, _>>()?;
        Ok(samples.try_into().expect("as many as there are sides"))
    }
}

/// Runs a program without input or output, and returns the milliseconds that it took.
///
/// # Errors
///
/// If the program cannot be started or fails.
pub(super) fn time(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let took = since(start);
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}

/// Returns the milliseconds since an instant.
pub(super) fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_alternate_and_change_their_order() {
        let rounds = Rounds {
            least: 3,
            most: 3,
            time: Duration::ZERO,
        };
        let order = std::cell::RefCell::new(String::new());
        let side = |name, figure| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(figure)
            }
        };
        let measured = rounds.interleave([&mut side('a', 1.0), &mut side('b', 2.0)]);
        let [a, b] = measured.unwrap();
        assert_eq!(*order.borrow(), "abbaab");
        assert_eq!((a.count(), a.median(), b.median()), (3, 1.0, 2.0));
    }

    #[test]
    fn a_failing_side_is_an_error() {
        let mut fails = || time(&mut Command::new("false"));
        let error = Rounds::new(true).interleave([&mut fails]).unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }
}
