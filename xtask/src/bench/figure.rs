//! A measured figure, its peer, and the ratio of the two.

use anyhow::Result;
use iothread_advise::Samples;

/// Samples of ours and of a peer from the same run.
#[derive(Debug)]
pub(super) struct Figure {
    /// `family: what`.
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) ours: Samples,
    pub(super) peer: Peer,
    /// The lower bound of any implementation, where it is known.
    pub(super) floor: Option<Peer>,
    pub(super) goal: Option<Goal>,
}

/// What a figure is compared with.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) samples: Samples,
}

/// The ratio to reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    AtMost(f64),
    /// For figures where more is better.
    AtLeast(f64),
}

/// Ours divided by the peer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Of the medians.
    pub(super) value: f64,
    /// Our lower quartile divided by the peer's upper quartile.
    pub(super) low: f64,
    /// Our upper quartile divided by the peer's lower quartile.
    pub(super) high: f64,
}

/// Whether a goal is reached, as far as the spread allows to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoalStatus {
    Met,
    Missed,
    /// The goal lies within the spread.
    Inconclusive,
}

impl Ratio {
    pub(super) fn of(ours: &Samples, peer: &Samples) -> Self {
        let (ours_low, ours_high) = ours.quartiles();
        let (peer_low, peer_high) = peer.quartiles();
        Self {
            value: ours.median() / peer.median(),
            low: ours_low / peer_high,
            high: ours_high / peer_low,
        }
    }

    /// Returns the ratio, or `None` if its spread is larger than its distance from 1.
    pub(super) fn quotable(&self) -> Option<f64> {
        let spread = (self.high - self.low) / 2.0;
        let effect = (self.value - 1.0).abs();
        (spread <= effect).then_some(self.value)
    }
}

impl Goal {
    pub(super) fn judge(self, ratio: Ratio) -> GoalStatus {
        let (met, missed) = match self {
            Self::AtMost(goal) => (ratio.high <= goal, ratio.low > goal),
            Self::AtLeast(goal) => (ratio.low >= goal, ratio.high < goal),
        };
        match (met, missed) {
            (true, _) => GoalStatus::Met,
            (_, true) => GoalStatus::Missed,
            _ => GoalStatus::Inconclusive,
        }
    }
}

impl Peer {
    pub(super) fn new(name: impl Into<String>, samples: Samples) -> Self {
        let name = name.into();
        Self { name, samples }
    }

    /// What a figure must not exceed.
    pub(super) fn limit(name: &str, limit: f64) -> Result<Self> {
        Ok(Self::new(name, Samples::new(vec![limit])?))
    }
}

impl Figure {
    /// Returns a figure without a lower bound and a goal.
    pub(super) fn new(name: String, unit: &'static str, ours: Samples, peer: Peer) -> Self {
        Self {
            name,
            unit,
            ours,
            peer,
            floor: None,
            goal: None,
        }
    }

    pub(super) fn with_floor(self, floor: Peer) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    pub(super) fn with_goal(self, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    pub(super) fn ratio(&self) -> Ratio {
        Ratio::of(&self.ours, &self.peer.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(ours: &[f64], peer: &[f64]) -> Ratio {
        let samples = |figures: &[f64]| Samples::new(figures.to_vec()).unwrap();
        Ratio::of(&samples(ours), &samples(peer))
    }

    #[test]
    fn a_ratio_is_quoted_only_if_its_spread_is_smaller_than_the_effect() {
        let clear = ratio(&[1.9, 2.0, 2.1], &[0.99, 1.0, 1.01]);
        assert_eq!(clear.quotable(), Some(2.0));
        let noise = ratio(&[0.8, 1.1, 1.4], &[0.8, 1.0, 1.3]);
        assert_eq!(noise.quotable(), None);
    }

    #[test]
    fn a_goal_within_the_spread_is_inconclusive() {
        let about_two = ratio(&[1.8, 2.0, 2.2], &[1.0, 1.0, 1.0]);
        let judged = [1.5, 2.0, 2.5].map(|goal| Goal::AtMost(goal).judge(about_two));
        assert_eq!(
            judged,
            [
                GoalStatus::Missed,
                GoalStatus::Inconclusive,
                GoalStatus::Met
            ]
        );
        let judged = [1.5, 2.0, 2.5].map(|goal| Goal::AtLeast(goal).judge(about_two));
        assert_eq!(
            judged,
            [
                GoalStatus::Met,
                GoalStatus::Inconclusive,
                GoalStatus::Missed
            ]
        );
    }
}
