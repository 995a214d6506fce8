//! A run as xtask makes it: several binaries, one merge.

use std::collections::BTreeMap;
use std::fs;

use kata_test::runner::{OutcomeKind, Run};

use crate::run::{Said, Sample};

#[test]
fn what_the_harnesses_write_is_merged() {
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let [sample, plain] = ["sample", "plain"].map(Sample::build);
    for (sample, mode) in [(&sample, ""), (&plain, "fail")] {
        let mut command = sample.command(&["needs::", "passes::with_measures", "by_panicking"]);
        command.envs(run.env()).env("SAMPLE", mode);
        Said::by(command);
    }

    let outcomes = run.merge().expect("outcomes");
    let of: BTreeMap<(&str, &str), _> = outcomes
        .iter()
        .map(|outcome| ((outcome.binary.as_str(), outcome.test.as_str()), outcome))
        .collect();
    assert_eq!(of.len(), outcomes.len());
    let kind = |binary, test| of[&(binary, test)].outcome;
    assert_eq!(
        kind("kata-test::sample", "cases::needs::much"),
        OutcomeKind::Skipped
    );
    assert_eq!(
        kind("kata-test::plain", "cases::needs::much"),
        OutcomeKind::Skipped
    );
    assert_eq!(
        kind("kata-test::sample", "cases::fails::by_panicking"),
        OutcomeKind::Passed
    );
    assert_eq!(
        kind("kata-test::plain", "cases::fails::by_panicking"),
        OutcomeKind::Failed
    );
    assert_eq!(
        kind("kata-test::plain", "cases::needs::a_broken_probe"),
        OutcomeKind::Undetermined
    );

    let measured = of[&("kata-test::sample", "cases::passes::with_measures")];
    let expected = BTreeMap::from([("attach_ms".to_owned(), 12.5), ("count".to_owned(), 3.0)]);
    assert_eq!(measured.measures, expected);
    assert!(measured.duration_ms > 0.0);
    let much = of[&("kata-test::sample", "cases::needs::much")];
    assert_eq!(much.issue.as_deref(), Some("x/1"));
    assert_eq!(much.reasons.len(), 2);

    let merged = root.path().join("latest/outcomes.jsonl");
    let lines = fs::read_to_string(merged).expect("the merged file");
    assert_eq!(lines.lines().count(), outcomes.len());
}
