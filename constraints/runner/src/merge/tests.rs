//! Scope: settling on one outcome. That harnesses write what is read here shows in `tests/real/`.

use std::fs;

use proptest::prelude::*;

use crate::{Outcome, Run};
use kata_test::__runner::Measures;
use kata_test::__runner::{Phase, RecordLine};

fn line(test: &str, phase: Phase, attempt: u32, uid: u32, outcome: Outcome) -> String {
    let record = RecordLine {
        binary: "pkg::it",
        test,
        phase,
        attempt,
        outcome,
        reasons: &[],
        issue: None,
        reason: None,
        signal: None,
        as_uid: None,
        duration_ms: 1.5,
        measures: &Measures::new(),
        artifacts: None,
    };
    record.to_line("run", "here", uid)
}

/// Merges files of the given contents and returns test and outcome of each.
fn merged(files: &[String]) -> Vec<(String, Outcome)> {
    let root = tempfile::tempdir().expect("a directory");
    let run = Run::start(root.path()).expect("a run");
    for (index, text) in files.iter().enumerate() {
        fs::write(run.dir().join(format!("pkg-{index}.jsonl")), text).expect("a file");
    }
    let outcomes = run.merge().expect("outcomes");
    // Merging again must not take the merged file for a record.
    assert_eq!(run.merge().expect("outcomes"), outcomes);
    let written = fs::read_to_string(root.path().join("latest/outcomes.jsonl")).expect("a file");
    assert_eq!(written.lines().count(), outcomes.len());
    outcomes
        .into_iter()
        .map(|outcome| (outcome.test, outcome.outcome))
        .collect()
}

fn settled(files: &[String]) -> Outcome {
    let merged = merged(files);
    assert_eq!(merged.len(), 1, "{merged:?}");
    merged[0].1
}

#[test]
fn within_a_process_the_last_line_counts() {
    let began = line("t", Phase::Run, 1, 0, Outcome::Lost);
    let ended = line("t", Phase::Run, 1, 0, Outcome::Passed);
    assert_eq!(settled(&[began.clone() + &ended]), Outcome::Passed);
    assert_eq!(settled(std::slice::from_ref(&began)), Outcome::Lost);
    assert_eq!(settled(&[began + &ended[..ended.len() / 2]]), Outcome::Lost);
}

#[test]
fn running_beats_listing_and_a_retry_what_it_retries() {
    let listed = line("t", Phase::List, 1, 0, Outcome::Skipped);
    let passed = line("t", Phase::Run, 1, 0, Outcome::Passed);
    assert_eq!(settled(&[listed.clone(), passed.clone()]), Outcome::Passed);
    assert_eq!(settled(&[listed.clone(), listed]), Outcome::Skipped);
    let failed = line("t", Phase::Run, 1, 0, Outcome::Failed);
    let retried = line("t", Phase::Run, 2, 0, Outcome::Passed);
    assert_eq!(settled(&[retried, failed.clone()]), Outcome::Flaky);
    assert_eq!(settled(&[passed, failed]), Outcome::Failed);
}

#[test]
fn of_two_users_the_one_who_ran_it_counts() {
    let skipped = line("t", Phase::Run, 1, 1000, Outcome::Skipped);
    let passed = line("t", Phase::Run, 1, 0, Outcome::Passed);
    assert_eq!(settled(&[skipped.clone(), passed]), Outcome::Passed);
    let failed = line("t", Phase::Run, 1, 0, Outcome::Undetermined);
    assert_eq!(settled(&[skipped, failed]), Outcome::Undetermined);
}

#[test]
fn what_was_to_run_is_lost_unless_it_has_run() {
    let meant = line("t", Phase::Run, 0, 0, Outcome::Lost);
    assert_eq!(settled(std::slice::from_ref(&meant)), Outcome::Lost);
    // That it cannot run in one place does not tell what became of it in another.
    let unmet = line("t", Phase::List, 1, 0, Outcome::Skipped);
    assert_eq!(settled(&[meant.clone(), unmet.clone()]), Outcome::Lost);
    let passed = line("t", Phase::Run, 1, 0, Outcome::Passed);
    assert_eq!(settled(&[meant.clone(), unmet, passed]), Outcome::Passed);
    let failed = line("t", Phase::Run, 1, 0, Outcome::Failed);
    assert_eq!(settled(&[meant, failed]), Outcome::Failed);
}

#[test]
fn a_broken_line_in_the_middle_is_named() {
    let root = tempfile::tempdir().expect("a directory");
    let run = Run::start(root.path()).expect("a run");
    let good = line("t", Phase::Run, 1, 0, Outcome::Passed);
    fs::write(run.dir().join("x.jsonl"), format!("{good}garbage\n{good}")).expect("a file");
    let error = run.merge().expect_err("an error").to_string();
    assert!(error.ends_with("x.jsonl:2: not a record of a test"));
}

#[test]
fn runs_do_not_share_a_folder() {
    let root = tempfile::tempdir().expect("a directory");
    let (a, b) = (
        Run::start(root.path()).expect("a run"),
        Run::start(root.path()).expect("a run"),
    );
    assert_ne!(a.dir(), b.dir());
    let latest = fs::canonicalize(root.path().join("latest")).expect("a link");
    assert_eq!(latest, fs::canonicalize(b.dir()).expect("a folder"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A file cut anywhere is read up to the cut.
    #[test]
    fn any_cut_is_tolerated(at in 0usize..2000) {
        let whole: String = ["a", "b", "c"]
            .map(|test| line(test, Phase::Run, 1, 0, Outcome::Passed))
            .concat();
        let cut = &whole[..at.min(whole.len())];
        prop_assert_eq!(merged(&[cut.to_owned()]).len(), cut.matches('\n').count());
    }
}
