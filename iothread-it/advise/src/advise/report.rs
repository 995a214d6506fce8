//! The report: figures, a recommendation and its reason.

use std::fmt::{self, Write as _};

use comfy_table::{CellAlignment, Table, presets};

use super::choice::{Choice, Measured, exceeds};
use crate::Samples;

/// What was measured, and what follows.
#[derive(Debug)]
pub struct Advice {
    pub(super) measured: Vec<Measured>,
    pub(super) choice: Choice,
}

impl Advice {
    /// Returns the recommended layout.
    pub fn recommended(&self) -> super::Layout {
        self.measured[self.choice.recommended].layout
    }

    fn reason(&self) -> String {
        let recommended = &self.measured[self.choice.recommended];
        let fastest = &self.measured[self.choice.fastest];
        let simpler = self.measured[..self.choice.recommended].iter();
        let simpler =
            simpler.max_by(|one, other| one.iops.median().total_cmp(&other.iops.median()));
        let Some(simpler) = simpler else {
            return "no difference to the others beyond the spread of these figures, or 5 %"
                .to_owned();
        };
        let why = match exceeds(&recommended.iops, &simpler.iops) {
            true => "is slower",
            false => "has operations that take longer",
        };
        let mut text = format!("the best simpler one ({}) {why}", named(simpler));
        if self.choice.fastest != self.choice.recommended {
            let fastest = named(fastest);
            let _ = write!(
                text,
                "; the fastest ({fastest}) gains nothing beyond the spread, or less than 5 %"
            );
        }
        text
    }
}

fn named(measured: &Measured) -> String {
    format!("{}: {:.0} IOPS", measured.layout, measured.iops.median())
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["layout", "IOPS", "p50 ms", "p99 ms", "CPU µs per I/O", ""]);
        for column in 1..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (index, row) in self.measured.iter().enumerate() {
            let mark = match index {
                index if index == self.choice.recommended => "recommended",
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
        let recommended = self.recommended();
        writeln!(f, "{table}")?;
        writeln!(f, "recommended: {recommended}: {}", self.reason())?;
        writeln!(f, "\nKata's configuration:\n{}", recommended.kata())
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
            let samples = [0.99, 1.0, 1.02].map(|noise| Sample {
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
    }
}
