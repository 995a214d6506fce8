//! The choice among measured layouts.

use super::layout::Layout;
use super::measure::Sample;
use crate::Samples;

/// Differences of medians below this share are not worth a change, however small the spread.
const WORTH: f64 = 0.05;

/// What a layout gave in all runs.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) layout: Layout,
    pub(super) iops: Samples,
    pub(super) p50_ms: Samples,
    pub(super) p99_ms: Samples,
    pub(super) cpu_us: Samples,
}

impl Measured {
    /// Needs at least one sample; figures are finite.
    pub(super) fn new(layout: Layout, samples: &[Sample]) -> Option<Self> {
        let of =
            |figure: fn(&Sample) -> f64| Samples::new(samples.iter().map(figure).collect()).ok();
        Some(Self {
            layout,
            iops: of(|sample| sample.iops)?,
            p50_ms: of(|sample| sample.p50_ms)?,
            p99_ms: of(|sample| sample.p99_ms)?,
            cpu_us: of(|sample| sample.cpu_us)?,
        })
    }
}

/// Whether figures exceed others beyond their spread, and by a share that is worth it.
pub(super) fn exceeds(one: &Samples, other: &Samples) -> bool {
    one.quartiles().0 > other.quartiles().1 && one.median() > other.median() * (1.0 + WORTH)
}

/// What is recommended, and why, by indices of what was measured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The simplest layout that no other exceeds in IOPS. Those before it are exceeded.
    pub(super) recommended: usize,
    /// The one with the highest median of IOPS.
    pub(super) fastest: usize,
}

/// Chooses among layouts, which are listed from the simplest; there is one at least.
pub(super) fn choose(measured: &[Measured]) -> Choice {
    let indices = 0..measured.len();
    let median = |index: &usize| measured[*index].iops.median();
    let fastest = indices
        .clone()
        .max_by(|one, other| median(one).total_cmp(&median(other)));
    let fastest = fastest.unwrap_or_default();
    let best = &measured[fastest];
    let keeps_up = |index: &usize| {
        let one = &measured[*index];
        // As many operations, and none of them much later.
        !exceeds(&best.iops, &one.iops) && !exceeds(&one.p99_ms, &best.p99_ms)
    };
    let recommended = indices.clone().find(keeps_up).unwrap_or(fastest);
    Choice {
        recommended,
        fastest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layouts with one to four threads, each with its IOPS and p99.
    fn chosen(figures: &[(&[f64], f64)]) -> Choice {
        let measured = figures.iter().enumerate().map(|(threads, (iops, p99))| {
            let layout = Layout {
                threads,
                spread: false,
                queues: 1,
                polling_off: false,
            };
            let samples = iops.iter().map(|iops| Sample {
                iops: *iops,
                p50_ms: 1.0,
                p99_ms: *p99,
                cpu_us: 1.0,
            });
            Measured::new(layout, &samples.collect::<Vec<_>>()).expect("samples")
        });
        choose(&measured.collect::<Vec<_>>())
    }

    #[test]
    fn the_simplest_of_equals_is_recommended() {
        let spread: (&[f64], f64) = (&[90.0, 100.0, 110.0], 1.0);
        let choice = chosen(&[spread, (&[95.0, 104.0, 113.0], 1.0), spread]);
        assert_eq!((choice.recommended, choice.fastest), (0, 1));
    }

    #[test]
    fn a_difference_beyond_the_spread_counts() {
        let choice = chosen(&[
            (&[50.0, 51.0, 52.0], 1.0),
            (&[100.0, 101.0, 102.0], 1.0),
            (&[102.0, 103.0, 104.0], 1.0),
        ]);
        // Two per cent more are not worth another thread.
        assert_eq!((choice.recommended, choice.fastest), (1, 2));
    }

    #[test]
    fn late_operations_count_too() {
        let choice = chosen(&[(&[100.0, 101.0], 9.0), (&[100.0, 101.5], 1.0)]);
        assert_eq!(choice.recommended, 1);
    }
}
