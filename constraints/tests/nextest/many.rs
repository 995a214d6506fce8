//! A thousand processes write their records at once, and some try again.

use kata_test::kata_test;

use crate::output::nextest;

#[kata_test(command = "cargo-nextest")]
fn a_thousand_processes_lose_no_record() {
    let said = nextest("many", "", &["--test-threads=16"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let ran = said
        .recorded
        .lines()
        .filter(|line| line.contains("\"outcome\":\"passed\""));
    let mut names: Vec<&str> = ran
        .map(|line| {
            let (_, tail) = line.split_once("\"test\":\"").expect("a name");
            tail.split_once('"').expect("its end").0
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 1000);
    // `latest` was pointed at the run by whoever was first, and by nobody else.
    assert!(said.recorded.lines().all(|line| line.ends_with('}')));
}

#[kata_test(command = "cargo-nextest")]
fn an_attempt_has_its_number() {
    let said = nextest("shards", "flaky", &["--retries=1", "flaky"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    for (attempt, outcome) in [(1, "failed"), (2, "passed")] {
        let fields = format!("\"attempt\":{attempt},\"as_uid\":");
        let outcome = format!("\"outcome\":\"{outcome}\"");
        let mut of = said
            .recorded
            .lines()
            .filter(|line| line.contains("\"phase\":\"run\""));
        assert!(
            of.any(|line| line.contains(&fields) && line.contains(&outcome)),
            "{}",
            said.recorded
        );
    }
}
