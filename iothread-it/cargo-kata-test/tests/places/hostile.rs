//! Tests that attack the runner cost themselves, and little of the runner's memory.

use std::fs;

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{Outcome, StopToken};

use crate::disasters::{await_record, run, run_binaries, run_until};
use crate::{kind, outcome};

/// How much the runner's memory may grow, in bytes.
const GROWTH: usize = 64 << 20;

/// Returns a figure of this process's memory, in bytes.
fn memory(name: &str) -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kib.with_context(|| format!("no {name} in {status}"))? << 10)
}

/// Runs a hostile test after a calm one, and expects that only the former fails, with these words.
fn costs_itself(hostile: &str, words: &str) -> Result<()> {
    let tests = ["a_calm_before", hostile];
    let mut before = Ok(0);
    let (outcomes, _) = run_until(StopToken::NEVER, &tests, |records| {
        // All that the test needs has been sent then, which takes memory too.
        await_record(records, hostile);
        before = fs::write("/proc/self/clear_refs", "5")
            .map_err(Into::into)
            .and_then(|()| memory("VmRSS:"));
    })?;
    let growth = memory("VmHWM:")?.saturating_sub(before?);
    kata_test::measure("growth_mib", (growth >> 20) as f64);
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, "a_calm_before"), Outcome::Passed);
    let failed = outcome(&outcomes, hostile);
    assert_eq!(failed.outcome, Outcome::Failed);
    let observed = &failed.reasons[0].observed;
    assert!(observed.contains(words), "{observed}");
    ensure!(
        growth <= GROWTH,
        "the runner's memory grew by {growth} bytes"
    );
    Ok(())
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_line_without_an_end() -> Result<()> {
    costs_itself("hostile::a_line_has_no_end", "a line that is longer than")
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_record_without_an_end() -> Result<()> {
    costs_itself("hostile::a_record_has_no_end", "a record is longer than")
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn output_without_an_end() -> Result<()> {
    costs_itself("hostile::output_has_no_end", "tests wrote more than")
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_file_elsewhere() -> Result<()> {
    costs_itself(
        "hostile::a_file_is_named_elsewhere",
        "is not a name of a file",
    )
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn records_of_other_tests_do_not_count() -> Result<()> {
    let tests = ["hostile::records_are_forged", "hostile::victim_fails_alone"];
    let (outcomes, _) = run(&tests, |_| {})?;
    assert_eq!(outcomes.len(), tests.len(), "{outcomes:#?}");
    assert_eq!(kind(&outcomes, tests[0]), Outcome::Passed);
    let failed = outcome(&outcomes, tests[1]);
    assert_eq!(failed.outcome, Outcome::Failed, "{failed:#?}");
    let wild = outcomes.iter().find(|outcome| outcome.duration_ms > 1e6);
    assert_eq!(wild, None);
    Ok(())
}

/// Runs a hostile test, then the tests of another binary, and expects their real outcomes.
fn spares_the_next_binary(hostile: &str) -> Result<()> {
    let (outcomes, screen) = run_binaries(
        StopToken::NEVER,
        &[
            ("disasters", &[hostile]),
            ("bystander", &["crashes", "fails", "passes"]),
        ],
        |_| {},
    )?;
    assert_eq!(outcomes.len(), 4, "{outcomes:#?}");
    let kinds = ["crashes", "fails", "passes"].map(|test| kind(&outcomes, test));
    let (failed, passed) = (Outcome::Failed, Outcome::Passed);
    assert_eq!(kinds, [failed, failed, passed], "{screen}");
    Ok(())
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_process_left_behind_forges_no_record_of_the_next_binary() -> Result<()> {
    spares_the_next_binary("hostile::a_core_handler_is_left")
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_replaced_executable_is_not_run_as_the_next_binary() -> Result<()> {
    spares_the_next_binary("hostile::the_next_binary_is_replaced")
}

#[kata_test(when = crate::supplied, timeout = "10m")]
fn a_forged_failure_of_the_agent_fails_the_test_that_forged_it() -> Result<()> {
    let tests = ["a_calm_before", "hostile::an_answer_is_forged", "i_fails"];
    let (outcomes, _) = run_binaries(
        StopToken::NEVER,
        &[("disasters", &tests), ("bystander", &["passes"])],
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

#[kata_test(when = crate::supplied, timeout = "10m")]
fn the_tests_after_a_hostile_one_run() -> Result<()> {
    for hostile in [
        "hostile::a_line_has_no_end",
        "hostile::the_harness_is_killed",
    ] {
        let tests = ["a_calm_before", hostile, "i_fails", "m_meets_the_mark"];
        let (outcomes, _) = run(&tests, |_| {})?;
        let kinds = tests.map(|test| (test, kind(&outcomes, test)));
        let failed = Outcome::Failed;
        // The mark of a guest that went with the hostile test is not there.
        let expected = [Outcome::Passed, failed, failed, failed];
        assert_eq!(kinds.map(|(_, kind)| kind), expected, "{kinds:?}");
        assert!(outcome(&outcomes, "i_fails").reasons.is_empty());
    }
    Ok(())
}
