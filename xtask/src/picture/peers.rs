//! The plot and the table of `cargo xtask bench peers`, made of the figures in a `bench.json`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::STYLE;
use crate::it_table::decimals;

/// Readable on a phone: no text is smaller than 11 pixels at this width.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 12.0;
const BAR: f64 = 18.0;
const GAP: f64 = 36.0;

/// A row of the table, and a group of bars.
#[derive(Debug)]
struct Row {
    what: String,
    unit: String,
    /// Ours is the first.
    tools: Vec<Tool>,
}

/// The figure of a tool: median and extremes.
#[derive(Debug)]
struct Tool {
    name: String,
    median: f64,
    range: [f64; 2],
    is_stopped: bool,
    /// What the figures say of ours and a peer; nothing for ours.
    comparison: String,
}

/// Reduces a `bench.json` to these figures, of the last run: an earlier one may have had a figure that this one lacks.
pub(super) fn select(text: &str) -> Result<String> {
    let all: Vec<Value> = serde_json::from_str(text)?;
    let mut peers: Vec<_> = all
        .into_iter()
        .filter(|one| one["name"].as_str().is_some_and(is_peers))
        .collect();
    let run = |one: &Value| one["measured_at"].as_u64();
    let last = peers.iter().map(run).max();
    peers.retain(|one| Some(run(one)) == last);
    rows(&serde_json::to_string(&peers)?)?;
    Ok(serde_json::to_string_pretty(&peers)? + "\n")
}

fn is_peers(name: &str) -> bool {
    name.starts_with("peers: ")
}

fn rows(text: &str) -> Result<Vec<Row>> {
    let all: Vec<Value> = serde_json::from_str(text)?;
    let mut rows: Vec<Row> = Vec::new();
    for one in &all {
        let string = |key: &str| {
            one[key]
                .as_str()
                .with_context(|| format!("{key} is no text: {one}"))
        };
        let number = |value: &Value| value.as_f64().with_context(|| format!("no number: {one}"));
        let tool = |name: &str, of: &str| -> Result<Tool> {
            let range = &one[format!("{of}_range").as_str()];
            Ok(Tool {
                name: name.to_owned(),
                median: number(&one[of])?,
                range: [number(&range[0])?, number(&range[1])?],
                is_stopped: string("peer_name")?.ends_with(", stopped") && of == "peer",
                comparison: String::new(),
            })
        };
        let title = string("name")?.strip_prefix("peers: ");
        let (what, peer) = title
            .and_then(|title| title.split_once(", "))
            .context("not a figure of a peer")?;
        if rows.last().is_none_or(|row| row.what != what) {
            rows.push(Row {
                what: what.to_owned(),
                unit: string("unit")?.to_owned(),
                tools: vec![tool("cargo kata-test", "ours")?],
            });
        }
        let row = rows.last_mut().context("a row was added")?;
        let mut peer = tool(peer, "peer")?;
        peer.comparison = match (number(&one["runs"])?, &one["ratio"]) {
            (..2.0, _) => ", one run".to_owned(),
            // The spread is larger than the effect.
            (_, Value::Null) => ", within noise".to_owned(),
            // Ours divided by the peer's.
            (_, ratio) => {
                let below = if peer.is_stopped { "below " } else { "" };
                format!(", ratio {below}{:.2}", number(ratio)?)
            }
        };
        row.tools.push(peer);
    }
    ensure!(
        !rows.is_empty(),
        "there are no figures of peers: `cargo xtask bench peers`"
    );
    Ok(rows)
}

/// A median in its unit, with three significant digits.
fn shown(value: f64, unit: &str) -> String {
    format!("{value:.*} {unit}", decimals(value))
}

/// The table in Markdown, with a column for each tool that a row has.
pub(super) fn table(text: &str) -> Result<String> {
    let rows = rows(text)?;
    let mut names: Vec<&str> = Vec::new();
    for tool in rows.iter().flat_map(|row| &row.tools) {
        if !names.contains(&tool.name.as_str()) {
            names.push(&tool.name);
        }
    }
    let mut table = format!("| | {} |\n|---|", names.join(" | "));
    table += &"---|".repeat(names.len());
    table += "\n";
    for row in &rows {
        write!(table, "| {} |", row.what)?;
        for name in &names {
            match row.tools.iter().find(|tool| tool.name == *name) {
                Some(tool) => write!(table, " {} |", cell(tool, &row.unit))?,
                None => table += " |",
            }
        }
        table += "\n";
    }
    Ok(table)
}

/// The median, the extremes, and how ours compares.
fn cell(tool: &Tool, unit: &str) -> String {
    let over = if tool.is_stopped { "over " } else { "" };
    let [low, high] = tool.range;
    let extremes = if low < high {
        format!(" ({} to {})", shown(low, "").trim(), shown(high, "").trim())
    } else {
        String::new()
    };
    let median = shown(tool.median, unit);
    format!("{over}{median}{extremes}{}", tool.comparison)
}

/// Bars on a logarithmic scale of each row's own, as the rows differ a thousandfold.
pub(super) fn svg(text: &str) -> Result<String> {
    let rows = rows(text)?;
    let mut y = 8.0;
    let mut groups = Vec::new();
    for row in &rows {
        groups.push(group(row, y));
        #[expect(clippy::cast_precision_loss, reason = "a count of tools")]
        let bars = row.tools.len() as f64;
        y += GAP + 2.0 * BAR * bars;
    }
    let svg = html! {
        svg.plot xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (y) } width="540" role="img"
            aria-label="How long each tool takes; shorter is better" {
            style { (PreEscaped(STYLE)) }
            rect.card x="0.5" y="0.5" width=(WIDTH - 1.0) height=(y - 1.0) rx="8" {}
            @for group in groups { (group) }
        }
    };
    Ok(svg.into_string())
}

fn group(row: &Row, top: f64) -> Markup {
    let most = row
        .tools
        .iter()
        .map(|tool| tool.range[1])
        .fold(f64::MIN, f64::max);
    let least = row
        .tools
        .iter()
        .map(|tool| tool.range[0])
        .fold(f64::MAX, f64::min)
        .max(most / 1e6);
    // The shortest bar is not empty.
    let start = (least / 2.0).ln();
    let at = |value: f64| {
        let share = (value.max(least).ln() - start) / (most.ln() - start);
        (LEFT + share * (WIDTH - 2.0 * LEFT)).round()
    };
    html! {
        text.head x=(LEFT) y=(top + 18.0) { (row.what) }
        @for (index, tool) in row.tools.iter().enumerate() {
            @let y = bar_top(top, index);
            @let class = if index == 0 { "ours" } else { "theirs" };
            @let more = if tool.is_stopped { "over " } else { "" };
            text.label x=(LEFT) y=(y + 13.0) { (tool.name) }
            text.label.end x=(WIDTH - LEFT) y=(y + 13.0) { (more) (shown(tool.median, &row.unit)) }
            rect class=(class) x=(LEFT) y=(y + BAR) width=(at(tool.median) - LEFT) height="8" rx="2" {}
            @if tool.range[0] < tool.range[1] {
                path.range d={ "M" (at(tool.range[0])) " " (y + BAR + 4.0) "H" (at(tool.range[1])) } {}
            }
        }
    }
}

fn bar_top(top: f64, index: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of tools")]
    let index = index as f64;
    top + 24.0 + 2.0 * BAR * index
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &str = r#"[
        {"name": "boot: cold", "ours": 1},
        {"name": "peers: one more test, virtme-ng", "peer_name": "virtme-ng", "unit": "ms", "runs": 3, "measured_at": 7,
         "ours": 5.0, "ours_range": [4.0, 6.0], "peer": 0.5, "peer_range": [0.4, 0.6], "ratio": 10.0},
        {"name": "peers: 200 tests, virtme-ng", "peer_name": "virtme-ng", "unit": "s", "runs": 3, "measured_at": 9,
         "ours": 5.0, "ours_range": [4.0, 6.0], "peer": 12.5, "peer_range": [12.0, 13.0], "ratio": 0.4},
        {"name": "peers: 200 tests, a script", "peer_name": "a script, stopped", "unit": "s", "runs": 3, "measured_at": 9,
         "ours": 5.0, "ours_range": [4.0, 6.0], "peer": 300.0, "peer_range": [300.0, 300.0], "ratio": 0.0167},
        {"name": "peers: one test, virtme-ng", "peer_name": "virtme-ng", "unit": "s", "runs": 3, "measured_at": 9,
         "ours": 4.0, "ours_range": [2.0, 4.2], "peer": 5.0, "peer_range": [3.7, 8.8], "ratio": null},
        {"name": "peers: the first test, a script", "peer_name": "a script", "unit": "s", "runs": 1, "measured_at": 9,
         "ours": 4.0, "ours_range": [4.0, 4.0], "peer": 8.0, "peer_range": [8.0, 8.0], "ratio": 0.5}
    ]"#;

    #[test]
    fn the_table_has_medians_extremes_and_what_can_be_said_of_them() {
        let table = table(&select(FIGURES).unwrap()).unwrap();
        insta::assert_snapshot!(table, @r"
        | | cargo kata-test | virtme-ng | a script |
        |---|---|---|---|
        | 200 tests | 5.00 s (4.00 to 6.00) | 12.5 s (12.0 to 13.0), ratio 0.40 | over 300 s, ratio below 0.02 |
        | one test | 4.00 s (2.00 to 4.20) | 5.00 s (3.70 to 8.80), within noise | |
        | the first test | 4.00 s | | 8.00 s, one run |
        ");
    }

    #[test]
    fn the_plot_has_a_bar_for_each_tool() {
        let svg = svg(&select(FIGURES).unwrap()).unwrap();
        let (_, body) = svg.split_once("</style>").unwrap();
        insta::assert_snapshot!(body.replace("><", ">\n<"));
    }

    #[test]
    fn figures_of_no_peer_are_an_error() {
        assert!(select("[]").is_err());
        assert!(rows(FIGURES).is_err());
    }
}
