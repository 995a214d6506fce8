//! What tests measured in milliseconds, a strip a machine: each test a point, the middle half a box,
//! the median a line.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::scale::{Scale, number};
use super::section;
use crate::Record;

/// What a measure's name ends with if it is a latency.
const UNIT: &str = "_ms";

/// A number, and the test that measured it.
type Point<'a> = (f64, &'a str);

/// The points of one measure, by where they were measured.
type Strips<'a> = BTreeMap<String, Vec<Point<'a>>>;

pub(super) fn of(outcomes: &[Record]) -> Markup {
    let measures = collect(outcomes);
    let plots = html! {
        @for (measure, strips) in &measures { (plot(measure, strips)) }
    };
    let about = "Each point is a test, the box holds the middle half of them, the line is the median. \
                 Rows are the innermost modules that the tests lie in: for the suite of IOThreads, \
                 the machine types.";
    html! {
        @if !measures.is_empty() {
            (section("latencies", "Latencies", about, &plots))
        }
    }
}

fn collect(outcomes: &[Record]) -> BTreeMap<&str, Strips<'_>> {
    let mut measures: BTreeMap<&str, Strips<'_>> = BTreeMap::new();
    let has_places = outcomes
        .iter()
        .any(|one| !one.measures.is_empty() && one.place != outcomes[0].place);
    for outcome in outcomes {
        let mut modules = outcome.test.rsplit("::");
        let module = modules.nth(1).unwrap_or(&outcome.binary);
        let row = if has_places {
            format!("{}: {module}", outcome.place)
        } else {
            module.to_owned()
        };
        for (name, value) in &outcome.measures {
            let is_shown = value.is_finite() && *value >= 0.0;
            if let (Some(measure), true) = (name.strip_suffix(UNIT), is_shown) {
                let strips = measures.entry(measure).or_default();
                strips
                    .entry(row.clone())
                    .or_default()
                    .push((*value, &outcome.test));
            }
        }
    }
    let points = measures.values_mut().flat_map(BTreeMap::values_mut);
    points.for_each(|points| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    measures
}

fn plot(measure: &str, strips: &Strips<'_>) -> Markup {
    let scale = Scale::over(strips.values().flatten().map(|(value, _)| *value));
    html! {
        figure.plot {
            figcaption { (measure) " " small { "milliseconds" } }
            div.rows {
                @for (row, points) in strips { (strip(row, points, scale)) }
                span {}
                (scale.axis("ms"))
                span {}
            }
            (figures(measure, strips))
        }
    }
}

fn strip(row: &str, points: &[Point<'_>], scale: Scale) -> Markup {
    let [low, median, high] = [0.25, 0.5, 0.75].map(|part| scale.at(quantile(points, part)));
    html! {
        span.label { (row) }
        svg.strip aria-hidden="true" {
            (scale.grid())
            rect.half x={ (low) "%" } width={ (percent(high - low)) "%" } y="5" height="14" rx="2" {}
            @for (index, (value, test)) in points.iter().enumerate() {
                // Points of the same number would hide each other.
                circle cx={ (scale.at(*value)) "%" } cy=(12 + [0, -4, 4][index % 3]) r="3" {
                    title { (test) ": " (number(*value)) " ms" }
                }
            }
            line.median x1={ (median) "%" } x2={ (median) "%" } y1="2" y2="22" {}
        }
        span.value { (number(quantile(points, 0.5))) " ms" }
    }
}

/// The plot for whoever cannot see it.
fn figures(measure: &str, strips: &Strips<'_>) -> Markup {
    html! {
        details {
            summary { "As a table" }
            table {
                caption { (measure) ", in milliseconds" }
                thead {
                    tr {
                        th scope="col" { "Where" }
                        @for head in ["tests", "least", "median", "90 %", "most"] {
                            th.number scope="col" { (head) }
                        }
                    }
                }
                tbody {
                    @for (row, points) in strips {
                        tr {
                            th scope="row" { (row) }
                            td.number { (points.len()) }
                            @for part in [0.0, 0.5, 0.9, 1.0] {
                                td.number { (number(quantile(points, part))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The number below which this part of the sorted points lies.
fn quantile(points: &[Point<'_>], part: f64) -> f64 {
    let last = points.len().saturating_sub(1);
    let at = part * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    let of = |index: usize| points.get(index).map_or(0.0, |point| point.0);
    of(below) + (of(above) - of(below)) * at.fract()
}

fn percent(part: f64) -> f64 {
    (part * 1e2).round() / 1e2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_points() {
        let points = [(1.0, ""), (2.0, ""), (4.0, "")];
        let parts = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| quantile(&points, part));
        assert_eq!(parts, [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert_eq!(quantile(&points[..1], 0.9), 1.0);
    }
}
