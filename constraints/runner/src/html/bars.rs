//! What a bench measured, as ratios to a peer: a bar from what the peer does to what ours does, with
//! its spread and its goal.

use maud::{Markup, html};

use super::scale::{Scale, number};
use super::{section, time};
use crate::figures::{Figure, Figures, Goal};

/// What the spread lets one say about a goal.
#[derive(Clone, Copy)]
enum Verdict {
    Kept,
    Missed,
    /// The goal lies within the spread.
    Open,
    /// There is none.
    NoGoal,
}

pub(super) fn of(figures: &Figures) -> Markup {
    let shown: Vec<&Figure> = figures.figures.iter().filter(|one| is_shown(one)).collect();
    let mut shown_by_family = shown.clone();
    shown_by_family.sort_by(|one, other| family(one).cmp(family(other)));
    let scale = Scale::log(
        shown.iter().flat_map(|one| extent(one)).fold(1.0, f64::min),
        shown.iter().flat_map(|one| extent(one)).fold(1.0, f64::max),
    );
    let content = html! {
        @for why in &figures.broken { p.quiet { "Figures that cannot be read: " (why) } }
        @for family in shown_by_family.chunk_by(|one, other| family(one) == family(other)) {
            (plot(family, scale))
        }
        @if let Some(one) = shown.first() {
            p.quiet { "Measured on " (one.machine) ", " (time::of(one.measured_at)) "." }
        }
    };
    let about = "Ours in terms of the other, in the same run: 1 is as much as the other, 0.5 half of it. \
                 The thin line is the spread, the mark ▾ the goal. Where the spread is larger than the \
                 effect, no ratio is told.";
    html! {
        @if !shown.is_empty() || !figures.broken.is_empty() {
            (section("figures", "Figures beside their peers", about, &content))
        }
    }
}

/// What can be drawn: a file may hold any number.
fn is_shown(figure: &Figure) -> bool {
    extent(figure)
        .iter()
        .all(|ratio| ratio.is_finite() && *ratio > 0.0)
}

/// All that a figure's row has to have room for.
fn extent(figure: &Figure) -> [f64; 4] {
    let (low, high) = figure.spread();
    let goal = figure.goal.map_or(1.0, Goal::ratio);
    [low, high, goal, value(figure)]
}

fn value(figure: &Figure) -> f64 {
    figure.ratio.unwrap_or(figure.ours / figure.peer)
}

fn family(figure: &Figure) -> &str {
    figure.name.split(':').next().unwrap_or_default()
}

fn plot(figures: &[&Figure], scale: Scale) -> Markup {
    html! {
        figure.plot.bench {
            figcaption { (family(figures[0])) }
            div.rows {
                @for figure in figures { (row(figure, scale)) }
                span {}
                (scale.axis("×"))
                span {}
            }
        }
    }
}

fn row(figure: &Figure, scale: Scale) -> Markup {
    let verdict = verdict(figure);
    let what = figure
        .name
        .split_once(": ")
        .map_or(figure.name.as_str(), |(_, what)| what);
    html! {
        span.label {
            (what)
            small {
                (number(figure.ours)) " beside " (number(figure.peer)) " " (figure.unit) " of "
                (figure.peer_name)
            }
        }
        (bar(figure, scale, verdict))
        span class={ "value " (verdict.class()) } {
            (told(figure)) " "
            @if let Some(goal) = figure.goal { small { "goal " (goal.sign()) " " (number(goal.ratio())) } }
            @if !verdict.word().is_empty() { small { (verdict.word()) } }
        }
    }
}

fn told(figure: &Figure) -> String {
    let (low, high) = figure.spread();
    match figure.ratio {
        Some(ratio) => number(ratio),
        None => format!("{} to {}", number(low), number(high)),
    }
}

fn bar(figure: &Figure, scale: Scale, verdict: Verdict) -> Markup {
    let (one, here) = (scale.at(1.0), scale.at(value(figure)));
    let (low, high) = figure.spread();
    let (from, length) = (one.min(here), (one - here).abs());
    html! {
        svg class={ "bar " (verdict.class()) } aria-hidden="true" {
            (scale.grid())
            @if figure.ratio.is_some() {
                rect x={ (from) "%" } width={ (format!("{length:.2}")) "%" } y="9" height="12" rx="1" {}
            }
            line.one x1={ (one) "%" } x2={ (one) "%" } y1="0" y2="100%" {}
            line.spread x1={ (scale.at(low)) "%" } x2={ (scale.at(high)) "%" } y1="15" y2="15" {}
            @for end in [low, high] {
                line.spread x1={ (scale.at(end)) "%" } x2={ (scale.at(end)) "%" } y1="11" y2="19" {}
            }
            @if let Some(goal) = figure.goal {
                @let goal = format!("{}%", scale.at(goal.ratio()));
                line.goal x1=(goal) x2=(goal) y1="6" y2="24" {}
                text.goal x=(goal) y="7" text-anchor="middle" { "▾" }
            }
        }
    }
}

fn verdict(figure: &Figure) -> Verdict {
    let (low, high) = figure.spread();
    let (kept, missed) = match figure.goal {
        None => return Verdict::NoGoal,
        Some(Goal::AtMost(goal)) => (high <= goal, low > goal),
        Some(Goal::AtLeast(goal)) => (low >= goal, high < goal),
    };
    match (kept, missed) {
        (true, _) => Verdict::Kept,
        (_, true) => Verdict::Missed,
        _ => Verdict::Open,
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Kept => "✓ kept",
            Self::Missed => "✗ missed",
            Self::Open => "within the spread",
            Self::NoGoal => "",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Missed => "missed",
            Self::Open => "open",
            Self::NoGoal => "no-goal",
        }
    }
}

impl Goal {
    fn ratio(self) -> f64 {
        match self {
            Self::AtMost(ratio) | Self::AtLeast(ratio) => ratio,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::AtMost(_) => "≤",
            Self::AtLeast(_) => "≥",
        }
    }
}
