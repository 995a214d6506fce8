//! The report: figures, a recommendation and its reason.

use std::fmt::{self, Write as _};

use super::choice::{Advantage, Choice, Measured, advantage};
use crate::Samples;
use crate::table::table;

/// What was measured, and what follows.
#[derive(Debug)]
pub struct Advice {
    pub(super) measured: Vec<Measured>,
    pub(super) choice: Choice,
}

impl Advice {
    /// Returns the recommended layout, or `None` if the figures spread too much for one.
    pub fn recommended(&self) -> Option<super::Layout> {
        (!self.choice.is_open).then(|| self.simplest())
    }

    /// The simplest layout that no other beats.
    fn simplest(&self) -> super::Layout {
        self.measured[self.choice.recommended].layout
    }

    /// Why none is recommended.
    fn open_question(&self) -> String {
        let simplest = &self.measured[self.choice.recommended];
        let fastest = &self.measured[self.choice.fastest];
        format!(
            "the figures spread too much. The fastest ({}) does {} more than the simplest that no other beats ({}), \
             which is not {WORTH} in nearly every round. Measure for longer (`--seconds`), or on a quiet machine.",
            named(fastest),
            gain(simplest, fastest),
            named(simplest)
        )
    }

    /// Why this one, and why no other.
    fn reason(&self) -> String {
        let Self { measured, choice } = self;
        let recommended = &measured[choice.recommended];
        let simpler = measured[..choice.recommended].iter();
        let best = simpler.max_by(|one, other| one.iops.median().total_cmp(&other.iops.median()));
        let Some(best) = best else {
            return format!("no other has {WORTH} in nearly every round");
        };
        // Of those that beat it, the first is the simplest.
        let winner = measured
            .iter()
            .find_map(|other| Some((other, advantage(other, best)?)));
        let why = winner.map(|(other, advantage)| match advantage {
            Advantage::Iops => format!("{} does {} more", other.layout, gain(best, other)),
            Advantage::P99 => format!("{} has a lower p99", other.layout),
        });
        let mut text = format!(
            "than the best simpler one ({}), {}",
            named(best),
            why.unwrap_or_default()
        );
        if choice.fastest != choice.recommended {
            let fastest = &measured[choice.fastest];
            let _ = write!(
                text,
                "; the fastest ({}) does {} more than the recommended one, which is not {WORTH} in nearly every round",
                named(fastest),
                gain(recommended, fastest)
            );
        }
        text
    }
}

/// What is worth a change.
const WORTH: &str = "5 % more operations, or a p99 lower by a fifth,";

/// By how much one does more than another: the median of all rounds, and its quartiles.
fn gain(than: &Measured, other: &Measured) -> String {
    let Some(ratios) = than.gain_of(other) else {
        return "some".to_owned();
    };
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let (low, high) = ratios.quartiles();
    format!(
        "{:.0} % ({:.0} to {:.0})",
        percent(ratios.median()),
        percent(low),
        percent(high)
    )
}

fn named(measured: &Measured) -> String {
    format!("{}: {:.0} IOPS", measured.layout, measured.iops.median())
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["layout", "IOPS", "p50 ms", "p99 ms", "CPU µs per I/O", ""];
        let mut table = table(&header, &[1, 2, 3, 4]);
        for (index, row) in self.measured.iter().enumerate() {
            let mark = match index {
                index if index == self.choice.recommended => match self.choice.is_open {
                    true => "simplest",
                    false => "recommended",
                },
                index if index == self.choice.fastest => "fastest",
                _ => "",
            };
            table.add_row([
                row.layout.to_string(),
                shown(&row.iops, 0),
                shown(&row.p50_ms, 2),
                shown(&row.p99_ms, 2),
                shown(&row.cpu_us, 0),
                mark.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "each was measured {} times",
            self.measured[0].iops.count()
        )?;
        match self.recommended() {
            Some(layout) => writeln!(f, "recommended: {layout}: {}", self.reason())?,
            None => writeln!(f, "no recommendation: {}", self.open_question())?,
        }
        let simplest = self.simplest();
        writeln!(
            f,
            "\nKata's configuration of {simplest}:\n{}",
            simplest.kata()
        )
    }
}

fn shown(samples: &Samples, digits: usize) -> String {
    let (low, high) = samples.quartiles();
    format!(
        "{:.digits$} ({low:.digits$} to {high:.digits$})",
        samples.median()
    )
}

#[cfg(test)]
mod tests {
    use super::super::choice::choose;
    use super::super::layout::{Layout, Limits};
    use super::super::measure::Sample;
    use super::*;

    /// Layouts of one disk with figures that grow by this factor from layout to layout.
    fn advice(factor: f64) -> Advice {
        let limits = Limits {
            disks: 2,
            threads: 2,
            vcpus: 1,
            spreads: false,
        };
        let mut iops = 10_000.0;
        let measured = Layout::all(&limits).into_iter().map(|layout| {
            let samples = [0.99, 1.0, 1.02, 0.98, 1.01, 1.0, 0.97].map(|noise| Sample {
                iops: iops * noise,
                p50_ms: 1.25,
                p99_ms: 7.5 * noise,
                cpu_us: 30.0,
            });
            iops *= factor;
            Measured::new(layout, &samples).expect("samples")
        });
        let measured: Vec<Measured> = measured.collect();
        let choice = choose(&measured);
        Advice { measured, choice }
    }

    #[test]
    fn a_recommendation_has_its_reason() {
        insta::assert_snapshot!("gains", advice(1.5));
        insta::assert_snapshot!("no_difference", advice(1.001));
        let mut few = advice(1.5);
        few.choice.recommended = 1;
        few.choice.is_open = true;
        insta::assert_snapshot!("open", few);
    }
}
