//! A histogram of latencies, whose size does not depend on the duration of the load.

use std::time::Duration;

use guest_agent::protocol::Latencies;

/// The number of buckets for each doubling of the time: a bucket is a sixteenth of it wide.
const STEPS: u32 = 16;

/// The number of buckets: enough for more than an hour in microseconds.
const BUCKETS: usize = 32 * STEPS as usize;

/// The number of operations for each latency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    longest_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            longest_us: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn count(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.longest_us = self.longest_us.max(us);
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.longest_us = self.longest_us.max(other.longest_us);
        self
    }

    pub(crate) fn report(&self) -> Latencies {
        Latencies {
            p50_us: self.percentile(50),
            p99_us: self.percentile(99),
            longest_us: self.longest_us,
        }
    }

    /// Returns the upper end of the bucket that the percentile is in.
    fn percentile(&self, percent: u64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_end(bucket).min(self.longest_us);
            }
        }
        0
    }
}

/// Returns the index of a latency's bucket. The first buckets are a microsecond wide, later ones a
/// sixteenth of a doubling.
fn bucket(us: u64) -> usize {
    let steps = u64::from(STEPS);
    if us < steps {
        return us as usize;
    }
    let doubling = us.ilog2() - STEPS.ilog2();
    let step = us >> doubling;
    let bucket = u64::from(doubling) * steps + step;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> u64 {
    let (bucket, steps) = (bucket as u64, u64::from(STEPS));
    if bucket < steps * 2 {
        return bucket;
    }
    let doubling = bucket / steps - 1;
    let step = bucket % steps + steps;
    ((step + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for us in times {
            histogram.count(Duration::from_micros(us));
        }
        histogram
    }

    #[test]
    fn the_slowest_hundredth_is_above_the_99th_percentile() {
        let quick = (0..990).map(|n| 100 + n % 3);
        let all = of(quick.chain([50_000; 10]));
        let report = all.report();
        assert!((100..=110).contains(&report.p50_us), "{report:?}");
        assert!((100..=110).contains(&report.p99_us), "{report:?}");
        assert_eq!(report.longest_us, 50_000);
        let more = all.plus(&of([50_000]));
        assert!((50_000..53_200).contains(&more.report().p99_us));
    }

    #[test]
    fn an_empty_histogram_has_latency_zero() {
        let report = Histogram::default().report();
        assert_eq!((report.p50_us, report.p99_us, report.longest_us), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_time_is_in_a_bucket_that_ends_at_most_a_sixteenth_later(us in 0..3_000_000_000u64) {
            let end = upper_end(bucket(us));
            prop_assert!(us <= end && end <= us + us / 16, "{} ends at {}", us, end);
        }
    }
}
