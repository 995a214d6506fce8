//! Reports to look at, merged from records as harnesses write them.

use std::fs;

use kata_test_runner::Run;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A test's name that does its worst.
pub(crate) const EVIL: &str = r#"evil::</script><script>window.evil = 1</script><b class="evil"><img src=x onerror="evil=1">'&quot;"#;

/// Binary, test, place and outcome.
type Cell = [&'static str; 4];

const CELLS: [Cell; 13] = [
    ["p::it", "plain::works", "here", "passed"],
    ["p::it", "new::kernel", "here", "skipped"],
    ["p::it", "new::kernel", "vm:sid", "passed"],
    ["p::it", "slow::waits", "vm:sid", "timed out"],
    ["p::it", EVIL, "here", "failed"],
    ["p::it", "gone::away", "here", "lost"],
    ["p::it", "vague::needs", "here", "undetermined"],
    ["p::other", "needs::root", "here", "skipped"],
    ["p::other", "left::out", "here", "ignored"],
    ["p::other", "q35::a", "here", "passed"],
    ["p::other", "q35::b", "here", "passed"],
    ["p::other", "q35::c", "here", "passed"],
    ["p::other", "far::away", "nowhere", "nowhere"],
];

/// A merged run in a folder of its own.
pub(crate) struct Report {
    root: TempDir,
    run: Run,
}

impl Report {
    /// Every outcome, in two places.
    pub(crate) fn of_every_outcome() -> Self {
        let lines = CELLS.iter().map(|cell| record(*cell));
        Self::merge(lines)
    }

    /// So many tests.
    pub(crate) fn of_many(count: usize) -> Self {
        let line = |index| {
            let mut record = record(["p::many", "", "here", "passed"]);
            record["test"] = format!("module::t_{index}").into();
            record
        };
        Self::merge((0..count).map(line))
    }

    fn merge(records: impl Iterator<Item = Value>) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let run = Run::start(root.path()).expect("a run");
        let lines: String = records.map(|record| format!("{record}\n")).collect();
        fs::write(run.dir().join("p-1.jsonl"), lines).expect("records");
        run.merge().expect("outcomes");
        Self { root, run }
    }

    pub(crate) fn file(&self) -> String {
        assert!(
            self.run
                .dir()
                .starts_with(self.root.path().canonicalize().expect("a folder"))
        );
        self.run.dir().join("report.html").display().to_string()
    }

    /// What the matrix has to show.
    pub(crate) fn expected(&self) -> Vec<[String; 4]> {
        let in_a_place = CELLS.iter().filter(|cell| cell[2] != "nowhere");
        let mut cells: Vec<_> = in_a_place.map(|cell| cell.map(str::to_owned)).collect();
        cells.sort();
        cells
    }
}

fn record([binary, test, place, outcome]: Cell) -> Value {
    let reasons = match outcome {
        "skipped" | "nowhere" | "undetermined" => json!([{
            "kind": "constraint", "constraint": if test.contains("root") { "root" } else { "kernel >= 7.0" },
            "observed": "it is <another>", "source": "uname",
        }]),
        _ => json!([]),
    };
    json!({
        "schema": 1, "run": "r", "binary": binary, "test": test, "place": place, "phase": "run",
        "attempt": 1, "as_uid": 0, "outcome": outcome.replace(' ', "_"), "reasons": reasons,
        "issue": "https://example.com/1", "reason": null, "signal": null, "duration_ms": 1.5,
        "measures": {},
    })
}
