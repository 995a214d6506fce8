//! Tests that attack the runner fail, affect no other test, and cost little of the runner's memory.

use std::fs;

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{Outcome, StopToken};

use crate::crashes::{await_record, run, run_binaries, run_until};
use crate::{kind, outcome};

/// The maximum growth of the runner's memory, in bytes.
const MAX_GROWTH: usize = 64 << 20;

/// Reads a field of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kib.with_context(|| format!("no {name} in {status}"))? << 10)
}

/// Runs a hostile test after one that passes. Only the hostile test may fail, with `words` in its
/// reason.
fn fails_only_itself(hostile: &str, words: &str) -> Result<()> {
    let tests = ["a_passes", hostile];
    let mut before = Ok(0);
    let (outcomes, _) = run_until(StopToken::NEVER, &tests, |records| {
        // The binary has been delivered by then, which takes memory too.
        await_record(records, hostile);
        before = fs::write("/proc/self/clear_refs", "5")
            .map_err(Into::into)
            .and_then(|()| memory("VmRSS:"));
    })?;
    let growth = memory("VmHWM:")?.saturating_sub(before?);
    kata_test::measure("growth_mib", (growth >> 20) as f64);
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, "a_passes"), Outcome::Passed);
    let failed = outcome(&outcomes, hostile);
    assert_eq!(failed.outcome, Outcome::Failed);
    let observed = &failed.reasons[0].observed;
    assert!(observed.contains(words), "{observed}");
    ensure!(
        growth <= MAX_GROWTH,
        "the runner's memory grew by {growth} bytes"
    );
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn an_endless_line_fails_its_test() -> Result<()> {
    fails_only_itself(
        "hostile::writes_an_endless_line",
        "a line that is longer than",
    )
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn an_endless_record_fails_its_test() -> Result<()> {
    fails_only_itself(
        "hostile::writes_an_endless_record",
        "a record is longer than",
    )
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn endless_output_fails_its_test() -> Result<()> {
    fails_only_itself("hostile::writes_endless_output", "tests wrote more than")
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_record_file_outside_fails_its_test() -> Result<()> {
    fails_only_itself("hostile::names_a_file_outside", "is not a file name")
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn records_of_other_batches_are_dropped() -> Result<()> {
    let tests = [
        "hostile::forges_records",
        "hostile::victim_fails_on_own_machine",
    ];
    let (outcomes, _) = run(&tests, |_| {})?;
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, tests[0]), Outcome::Passed);
    let failed = outcome(&outcomes, tests[1]);
    assert_eq!(failed.outcome, Outcome::Failed, "{failed:#?}");
    let wild = outcomes.iter().find(|outcome| outcome.duration_ms > 1e6);
    assert_eq!(wild, None);
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_forged_failure_of_the_agent_fails_the_test_that_forged_it() -> Result<()> {
    let tests = ["a_passes", "hostile::forges_an_answer", "i_fails"];
    let (outcomes, _) = run_binaries(
        StopToken::NEVER,
        &[("destructive", &tests), ("bystander", &["passes"])],
        |_| {},
    )?;
    assert_eq!(outcomes.len(), 4, "{outcomes:#?}");
    let forged = outcome(&outcomes, tests[1]);
    assert_eq!(forged.outcome, Outcome::Failed, "{forged:#?}");
    let observed = &forged.reasons[0].observed;
    assert!(observed.contains("forged"), "{observed}");
    assert_eq!(kind(&outcomes, tests[0]), Outcome::Passed);
    assert_eq!(kind(&outcomes, tests[2]), Outcome::Failed);
    assert!(outcome(&outcomes, tests[2]).reasons.is_empty());
    assert_eq!(kind(&outcomes, "passes"), Outcome::Passed);
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn tests_after_a_hostile_one_run() -> Result<()> {
    for hostile in [
        "hostile::writes_an_endless_line",
        "hostile::kills_the_harness",
    ] {
        let tests = ["a_passes", hostile, "i_fails", "m_reads_the_mark"];
        let (outcomes, _) = run(&tests, |_| {})?;
        let kinds = tests.map(|test| (test, kind(&outcomes, test)));
        let failed = Outcome::Failed;
        // The new guest does not have the mark.
        let expected = [Outcome::Passed, failed, failed, failed];
        assert_eq!(kinds.map(|(_, kind)| kind), expected, "{kinds:?}");
        assert!(outcome(&outcomes, "i_fails").reasons.is_empty());
    }
    Ok(())
}
