//! Figures as JSON: `bench.json`.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::figure::{Figure, Goal, Peer};
use iothread_advise::Samples;

/// Writes the figures into the file, and keeps earlier figures of other names.
pub(super) fn update(path: &Path, figures: &[Figure], machine: &str) -> Result<()> {
    let before = fs::read_to_string(path).unwrap_or_default();
    let mut all: Vec<Value> = serde_json::from_str(&before).unwrap_or_default();
    let is_new = |old: &Value| figures.iter().any(|figure| old["name"] == figure.name);
    all.retain(|old| !is_new(old));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    all.extend(figures.iter().map(|figure| of(figure, machine, now)));
    let text = serde_json::to_string_pretty(&all)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn of(figure: &Figure, machine: &str, now: u64) -> Value {
    let ratio = figure.ratio();
    let (ours, peer) = (&figure.ours, &figure.peer.samples);
    let floor = figure.floor.as_ref().map(|Peer { name, samples }| {
        json!({ "name": name, "median": samples.median(), "spread": spread(samples) })
    });
    let goal = figure.goal.map(|goal| match goal {
        Goal::AtMost(ratio) => json!({ "at_most": ratio }),
        Goal::AtLeast(ratio) => json!({ "at_least": ratio }),
    });
    json!({
        "name": figure.name,
        "ours": ours.median(),
        "ours_spread": spread(ours),
        "ours_range": range(ours),
        "ours_percentiles": percentiles(ours),
        "peer": peer.median(),
        "peer_spread": spread(peer),
        "peer_range": range(peer),
        "peer_percentiles": percentiles(peer),
        "peer_name": figure.peer.name,
        "unit": figure.unit,
        // Null if the spread is larger than the effect.
        "ratio": ratio.quotable(),
        "ratio_spread": [ratio.low, ratio.high],
        "floor": floor,
        "goal": goal,
        "runs": ours.count(),
        "machine": machine,
        "measured_at": now,
    })
}

fn spread(samples: &Samples) -> [f64; 2] {
    samples.quartiles().into()
}

/// Returns the smallest and the largest sample.
fn range(samples: &Samples) -> [f64; 2] {
    [samples.quantile(0.0), samples.quantile(1.0)]
}

/// Returns percentiles, for latencies.
fn percentiles(samples: &Samples) -> Value {
    let at = |part| samples.quantile(part);
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, ours: [f64; 3]) -> Figure {
        let samples = |figures: [f64; 3]| Samples::new(figures.to_vec()).unwrap();
        let peer = Peer::new("theirs", samples([4.0, 4.0, 4.0]));
        Figure::new(name.to_owned(), "ms", samples(ours), peer)
    }

    #[test]
    fn figures_of_other_names_are_kept() {
        let path = std::env::temp_dir().join(format!("bench-{}.json", std::process::id()));
        update(&path, &[figure("a", [1.0; 3]), figure("b", [1.0; 3])], "m").unwrap();
        update(&path, &[figure("a", [3.0, 4.0, 5.0])], "m").unwrap();
        let read: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        let shown = |index: usize| {
            let entry = &read[index];
            (&entry["name"], &entry["ours"], &entry["ratio"])
        };
        assert_eq!(shown(0), (&json!("b"), &json!(1.0), &json!(0.25)));
        assert_eq!(shown(1), (&json!("a"), &json!(4.0), &Value::Null));
        assert!(read[2].is_null());
    }
}
