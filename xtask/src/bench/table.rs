//! Figures as a table.

use comfy_table::Table;

use super::figure::{Figure, Goal, GoalStatus, Peer, Ratio};
use crate::it_table;
use iothread_advise::Samples;

/// Lays out the figures.
pub(super) fn of(figures: &[Figure]) -> Table {
    let header = ["figure", "ours", "peer", "peer's", "ratio", "goal", ""];
    let mut table = it_table::table(header, [1, 3, 4, 5]);
    for figure in figures {
        table.add_row(row(figure));
        if let Some(Peer { name, samples }) = &figure.floor {
            // The lowest ratio that any implementation can reach.
            let possible = Ratio::of(samples, &figure.peer.samples);
            table.add_row([
                format!("    lower bound: {name}"),
                shown(samples, figure.unit),
                String::new(),
                String::new(),
                format!("{:.3}", possible.value),
            ]);
        }
    }
    table
}

fn row(figure: &Figure) -> [String; 7] {
    let ratio = figure.ratio();
    let quoted = match ratio.quotable() {
        Some(value) => format!("{value:.3}"),
        None => format!("within noise ({:.2} to {:.2})", ratio.low, ratio.high),
    };
    let goal = match figure.goal {
        Some(Goal::AtMost(goal)) => format!("≤ {goal:.3}"),
        Some(Goal::AtLeast(goal)) => format!("≥ {goal:.3}"),
        None => String::new(),
    };
    let status = match figure.goal.map(|goal| goal.judge(ratio)) {
        Some(GoalStatus::Met) => "met",
        Some(GoalStatus::Missed) => "missed",
        Some(GoalStatus::Inconclusive) => "inconclusive",
        None => "",
    };
    [
        figure.name.clone(),
        shown(&figure.ours, figure.unit),
        figure.peer.name.clone(),
        shown(&figure.peer.samples, figure.unit),
        quoted,
        goal,
        status.to_owned(),
    ]
}

/// Formats median and quartiles.
fn shown(samples: &Samples, unit: &str) -> String {
    let (low, high) = samples.quartiles();
    let median = samples.median();
    let digits = it_table::decimals(median);
    format!("{median:.digits$} {unit} ({low:.digits$} to {high:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_median_quartiles_ratio_and_goal_status() {
        let samples = |figures: [f64; 3]| Samples::new(figures.to_vec()).unwrap();
        let peer = Peer::new("theirs", samples([200.0, 200.0, 200.0]));
        let ours = samples([99.0, 100.0, 101.0]);
        let figure = Figure::new("family: what".to_owned(), "ms", ours, peer);
        let mut figure = figure.with_goal(Goal::AtMost(0.6));
        assert_eq!(
            row(&figure),
            [
                "family: what",
                "100 ms (100 to 100)",
                "theirs",
                "200 ms (200 to 200)",
                "0.500",
                "≤ 0.600",
                "met"
            ]
        );
        figure.ours = samples([150.0, 200.0, 260.0]);
        let [.., ratio, _, status] = row(&figure);
        assert_eq!(
            (ratio.as_str(), status.as_str()),
            ("within noise (0.88 to 1.15)", "missed")
        );
    }
}
