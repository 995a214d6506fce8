//! The choice among measured layouts.
//!
//! Layouts are compared round by round, because a slow moment of the machine meets all layouts of a round. One beats
//! another if the median of the ratios is worth it with a confidence of 99 %. If the fastest seems to be better than the
//! simplest that no other beats, without that confidence, nothing is recommended: another run could choose another one.

use super::layout::Layout;
use super::measure::Sample;
use crate::Samples;

/// More operations per second by less than this factor are not worth a change.
const WORTH_IOPS: f64 = 1.05;

/// A lower 99th percentile of latencies by less than this factor is not worth a change.
const WORTH_P99: f64 = 1.25;

/// What a layout gave in all rounds.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) layout: Layout,
    pub(super) iops: Samples,
    pub(super) p50_ms: Samples,
    pub(super) p99_ms: Samples,
    pub(super) cpu_us: Samples,
    /// By round.
    rounds: Vec<Sample>,
}

impl Measured {
    /// Needs at least one sample; figures are finite.
    pub(super) fn new(layout: Layout, rounds: &[Sample]) -> Option<Self> {
        let of =
            |figure: fn(&Sample) -> f64| Samples::new(rounds.iter().map(figure).collect()).ok();
        Some(Self {
            layout,
            iops: of(|sample| sample.iops)?,
            p50_ms: of(|sample| sample.p50_ms)?,
            p99_ms: of(|sample| sample.p99_ms)?,
            cpu_us: of(|sample| sample.cpu_us)?,
            rounds: rounds.to_vec(),
        })
    }

    /// How much more another layout does than this one, by round.
    pub(super) fn gain_of(&self, other: &Self) -> Option<Samples> {
        self.ratios(|own| own.iops, other, |other| other.iops)
    }

    fn ratios(
        &self,
        below: fn(&Sample) -> f64,
        other: &Self,
        above: fn(&Sample) -> f64,
    ) -> Option<Samples> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        Samples::new(
            rounds
                .map(|(own, other)| above(other) / below(own))
                .collect(),
        )
        .ok()
    }
}

/// In what a layout beats another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advantage {
    Iops,
    P99,
}

/// Returns in what `other` beats `one`, if it does.
pub(super) fn advantage(other: &Measured, one: &Measured) -> Option<Advantage> {
    let is_worth = |ratios: Option<Samples>, worth: f64| {
        let bound = ratios.and_then(|ratios| ratios.median_is_at_least());
        bound.is_some_and(|bound| bound > worth)
    };
    let does_more = |one: &Measured, other: &Measured| is_worth(one.gain_of(other), WORTH_IOPS);
    if does_more(one, other) {
        return Some(Advantage::Iops);
    }
    let is_earlier = is_worth(
        other.ratios(|other| other.p99_ms, one, |one| one.p99_ms),
        WORTH_P99,
    );
    (is_earlier && !does_more(other, one)).then_some(Advantage::P99)
}

/// What is recommended, and why, by indices of what was measured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The simplest layout that no other beats.
    pub(super) recommended: usize,
    /// Whether the fastest seems to be better than it: the rounds differ too much to tell.
    pub(super) is_open: bool,
    /// The one with the highest median of IOPS.
    pub(super) fastest: usize,
}

/// Chooses among layouts, which are listed from the simplest; there is one at least.
pub(super) fn choose(measured: &[Measured]) -> Choice {
    let median = |index: &usize| measured[*index].iops.median();
    let fastest = (0..measured.len()).max_by(|one, other| median(one).total_cmp(&median(other)));
    let fastest = fastest.unwrap_or_default();
    let is_beaten = |one: &Measured| {
        let beats = |other: &Measured| advantage(other, one).is_some();
        measured.iter().any(beats)
    };
    let recommended = measured.iter().position(|one| !is_beaten(one));
    let recommended = recommended.unwrap_or(fastest);
    let gain = measured[recommended].gain_of(&measured[fastest]);
    Choice {
        recommended,
        is_open: gain.is_some_and(|gain| gain.median() > WORTH_IOPS),
        fastest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How fast the machine is in each round.
    const MOMENTS: [f64; 8] = [1.0, 0.4, 0.97, 1.2, 1.03, 0.7, 0.99, 1.01];

    /// Layouts with none to three threads, each with its IOPS and p99 in a usual round.
    fn chosen(figures: &[(f64, f64)], moments: &[f64]) -> Choice {
        let measured = figures.iter().enumerate().map(|(threads, (iops, p99))| {
            let layout = Layout {
                threads,
                spread: false,
                queues: 1,
                polling_off: false,
            };
            let samples = moments.iter().map(|moment| Sample {
                iops: iops * moment,
                p50_ms: 1.0,
                p99_ms: p99 / moment,
                cpu_us: 1.0,
            });
            Measured::new(layout, &samples.collect::<Vec<_>>()).expect("samples")
        });
        choose(&measured.collect::<Vec<_>>())
    }

    #[test]
    fn the_simplest_of_equals_is_recommended() {
        let choice = chosen(&[(100.0, 1.0), (104.0, 1.0), (100.0, 1.2)], &MOMENTS);
        assert_eq!((choice.recommended, choice.fastest), (0, 1));
    }

    #[test]
    fn a_difference_in_each_round_counts_though_the_rounds_differ_more() {
        let choice = chosen(&[(90.0, 1.0), (100.0, 1.0), (103.0, 1.0)], &MOMENTS);
        // Three per cent more are not worth another thread.
        let expected = Choice {
            recommended: 1,
            is_open: false,
            fastest: 2,
        };
        assert_eq!(choice, expected);
    }

    #[test]
    fn late_operations_count_if_they_are_not_more() {
        let choice = chosen(&[(100.0, 9.0), (101.0, 1.0)], &MOMENTS);
        assert_eq!(choice.recommended, 1);
        // What does more is not beaten by what is earlier.
        let choice = chosen(&[(150.0, 9.0), (100.0, 1.0)], &MOMENTS);
        assert_eq!(choice.recommended, 0);
    }

    #[test]
    fn one_round_that_is_otherwise_is_too_much_for_eight() {
        let mut samples = MOMENTS.map(|moment| Sample {
            iops: 100.0 * moment,
            p50_ms: 1.0,
            p99_ms: 1.0,
            cpu_us: 1.0,
        });
        let layout = |threads| Layout {
            threads,
            spread: false,
            queues: 1,
            polling_off: false,
        };
        let slow = Measured::new(layout(0), &samples).expect("samples");
        for sample in &mut samples {
            sample.iops *= 1.5;
        }
        let fast = Measured::new(layout(1), &samples).expect("samples");
        assert_eq!(advantage(&fast, &slow), Some(Advantage::Iops));
        samples[3].iops /= 2.0;
        let once_slow = Measured::new(layout(1), &samples).expect("samples");
        assert_eq!(advantage(&once_slow, &slow), None);
        let choice = choose(&[slow, once_slow]);
        assert_eq!((choice.recommended, choice.is_open), (0, true));
    }

    #[test]
    fn few_rounds_show_nothing() {
        let choice = chosen(&[(10.0, 9.0), (100.0, 1.0)], &MOMENTS[..6]);
        assert!(choice.is_open, "{choice:?}");
    }
}
