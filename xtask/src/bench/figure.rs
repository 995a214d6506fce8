//! A figure beside what it is compared with, and what may be said of the two.

use super::samples::Samples;

/// What was measured of ours and of something else, in the same run.
#[derive(Debug)]
pub(super) struct Figure {
    /// `family: what`.
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) ours: Samples,
    pub(super) peer: Peer,
    /// What no way of doing it can go below, where that is known.
    pub(super) floor: Option<Peer>,
    pub(super) goal: Option<Goal>,
}

/// What a figure is compared with.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) samples: Samples,
}

/// The ratio that is aimed at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    AtMost(f64),
    /// Of what is the better, the more of it there is.
    AtLeast(f64),
}

/// Ours in terms of the peer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Of the medians.
    pub(super) value: f64,
    /// From the one's lower quartile over the other's upper to the opposite.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What the spread lets one say about a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Kept,
    Missed,
    /// The goal lies within the spread.
    Open,
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

    /// The ratio, unless its spread is larger than what it would tell: that one differs from the
    /// other.
    pub(super) fn quotable(&self) -> Option<f64> {
        let spread = (self.high - self.low) / 2.0;
        let effect = (self.value - 1.0).abs();
        (spread <= effect).then_some(self.value)
    }
}

impl Goal {
    pub(super) fn judge(self, ratio: Ratio) -> Verdict {
        let (kept, missed) = match self {
            Self::AtMost(goal) => (ratio.high <= goal, ratio.low > goal),
            Self::AtLeast(goal) => (ratio.low >= goal, ratio.high < goal),
        };
        match (kept, missed) {
            (true, _) => Verdict::Kept,
            (_, true) => Verdict::Missed,
            _ => Verdict::Open,
        }
    }
}

impl Figure {
    pub(super) fn ratio(&self) -> Ratio {
        Ratio::of(&self.ours, &self.peer.samples)
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        Some(self.goal?.judge(self.ratio()))
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
    fn a_ratio_is_quoted_only_if_it_tells_more_than_its_spread() {
        let clear = ratio(&[1.9, 2.0, 2.1], &[0.99, 1.0, 1.01]);
        assert_eq!(clear.quotable(), Some(2.0));
        let noise = ratio(&[0.8, 1.1, 1.4], &[0.8, 1.0, 1.3]);
        assert_eq!(noise.quotable(), None);
    }

    #[test]
    fn a_goal_within_the_spread_is_neither_kept_nor_missed() {
        let about_two = ratio(&[1.8, 2.0, 2.2], &[1.0, 1.0, 1.0]);
        let judged = [1.5, 2.0, 2.5].map(|goal| Goal::AtMost(goal).judge(about_two));
        assert_eq!(judged, [Verdict::Missed, Verdict::Open, Verdict::Kept]);
        let judged = [1.5, 2.0, 2.5].map(|goal| Goal::AtLeast(goal).judge(about_two));
        assert_eq!(judged, [Verdict::Kept, Verdict::Open, Verdict::Missed]);
    }
}
