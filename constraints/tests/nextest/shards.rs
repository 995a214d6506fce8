//! Shards of two machines, of which one can run less than the other.

use std::path::Path;

use kata_test::kata_test;
use kata_test_runner::{Outcome, Shards};

use crate::output::nextest_in;

/// Runs both halves, each on a machine of its own, and joins their records.
fn two_machines(kind: &str, below: &Path) -> Shards {
    for (index, machine) in [(1, "a"), (2, "b")] {
        let part = format!("--partition={kind}:{index}/2");
        let records = below.join(machine);
        let out = nextest_in(&records, "shards", &[&part], &[("MACHINE", machine)]);
        assert_eq!(out.code, Some(0), "{}", out.text);
    }
    Shards::merge(below).expect("records")
}

#[kata_test(command = "cargo-nextest")]
fn shards_by_hash_run_every_test_once() {
    let below = tempfile::tempdir().expect("a folder");
    let shards = two_machines("hash", below.path());
    assert_eq!(
        (shards.lost.len(), shards.repeated.len()),
        (0, 0),
        "{shards:?}"
    );
    let passed = shards
        .outcomes
        .iter()
        .filter(|o| o.outcome == Outcome::Passed);
    let (known, passed) = (shards.outcomes.len(), passed.count());
    // The one that machine b cannot run may have been in its shard.
    assert!(known == 9 && passed >= 8, "{shards:?}");
}

#[kata_test(command = "cargo-nextest")]
fn tests_lost_or_repeated_by_shards_are_found() {
    for kind in ["slice", "count"] {
        let below = tempfile::tempdir().expect("a folder");
        let shards = two_machines(kind, below.path());
        let lost: Vec<&str> = shards.lost.iter().map(|id| id.test.as_str()).collect();
        let repeated: Vec<&str> = shards
            .repeated
            .iter()
            .map(|(id, _)| id.test.as_str())
            .collect();
        assert_eq!(lost, ["t1", "t3", "t5", "t7"], "{kind}");
        assert_eq!(repeated, ["t2", "t4", "t6", "z_flaky"], "{kind}");
    }
}
