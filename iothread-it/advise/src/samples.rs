//! Samples, their median and quartiles.

/// At least one finite number, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples(Vec<f64>);

/// There are no samples, or one is not a finite number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("no samples, or one is not a finite number: {0:?}")]
pub struct BadSamples(Vec<f64>);

impl Samples {
    /// Takes figures in any order.
    ///
    /// # Errors
    /// If there are none, or one is infinite or not a number.
    pub fn new(mut figures: Vec<f64>) -> Result<Self, BadSamples> {
        if figures.is_empty() || figures.iter().any(|figure| !figure.is_finite()) {
            return Err(BadSamples(figures));
        }
        figures.sort_by(f64::total_cmp);
        Ok(Self(figures))
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the lower and the upper quartile.
    pub fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Returns what the median of the population that these samples are of is at least, at a confidence of 99 %,
    /// whatever their distribution. Seven samples are needed.
    ///
    /// Each sample is below that median with a probability of one half, so the number of those that are is binomial.
    pub fn median_is_at_least(&self) -> Option<f64> {
        const MISTAKES: f64 = 0.01;
        let count = self.0.len();
        let mut probability = 0.5_f64.powi(i32::try_from(count).ok()?);
        let mut at_most = probability;
        let mut bound = None;
        for below in 0..count {
            // The probability that at most so many samples are below the median.
            if at_most > MISTAKES {
                break;
            }
            bound = Some(self.0[below]);
            #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
            let next = (count - below) as f64 / (below + 1) as f64;
            probability *= next;
            at_most += probability;
        }
        bound
    }

    /// Returns a quantile, interpolated between the two nearest samples.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a length is an index"
    )]
    pub fn quantile(&self, part: f64) -> f64 {
        let place = part.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let share = place - place.floor();
        self.0[below] + (self.0[above] - self.0[below]) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[f64]) -> Samples {
        Samples::new(figures.to_vec()).unwrap()
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(samples(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(samples(&[7.0]).quartiles(), (7.0, 7.0));
        assert_eq!(samples(&[5.0, 4.0, 3.0, 2.0, 1.0]).quartiles(), (2.0, 4.0));
    }

    #[test]
    fn an_outlier_moves_neither_median_nor_quartiles() {
        let noisy = samples(&[1.0, 1.1, 1.2, 1.3, 900.0]);
        assert_eq!((noisy.median(), noisy.quartiles()), (1.2, (1.1, 1.3)));
    }

    #[test]
    fn the_bound_of_the_median_is_that_of_the_sign_test() {
        let up_to = |last: u32| samples(&(1..=last).map(f64::from).collect::<Vec<_>>());
        // By tables: below the k-th of n samples at a probability of at most 1 %.
        for (count, bound) in [
            (6, None),
            (7, Some(1.0)),
            (10, Some(1.0)),
            (12, Some(2.0)),
            (20, Some(5.0)),
        ] {
            assert_eq!(up_to(count).median_is_at_least(), bound, "{count}");
        }
    }

    #[test]
    fn no_samples_and_nan_are_refused() {
        assert!(Samples::new(Vec::new()).is_err());
        assert!(Samples::new(vec![1.0, f64::NAN]).is_err());
    }
}
