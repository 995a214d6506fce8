//! A thousand processes write their records at once, and some try again.

use kata_test::kata_test;

use crate::output::nextest;

#[kata_test(command = "cargo-nextest")]
fn a_thousand_processes_lose_no_record() {
    let out = nextest("many", "", &["--test-threads=16"]);
    assert_eq!(out.code, Some(0), "{}", out.text);
    let ran = out
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
    // Only the first process pointed `latest` at the run.
    assert!(out.recorded.lines().all(|line| line.ends_with('}')));
}

#[kata_test(command = "cargo-nextest")]
fn an_attempt_has_its_number() {
    has_two_attempts(&["--retries=1", "flaky"]);
}

/// nextest's settings for one test.
#[kata_test(command = "cargo-nextest")]
fn an_override_of_nextest_applies_to_its_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("overrides.toml");
    let text = "[[profile.default.overrides]]\nfilter = 'test(=z_flaky)'\nretries = 1\n";
    std::fs::write(&file, text).expect("a configuration");
    let config = format!("--tool-config-file=overrides:{}", file.display());
    has_two_attempts(&[&config]);
}

fn has_two_attempts(args: &[&str]) {
    let out = nextest("shards", "flaky", args);
    assert_eq!(out.code, Some(0), "{}", out.text);
    for (attempt, outcome) in [(1, "failed"), (2, "passed")] {
        let fields = format!("\"attempt\":{attempt},\"as_uid\":");
        let outcome = format!("\"outcome\":\"{outcome}\"");
        let mut of = out
            .recorded
            .lines()
            .filter(|line| line.contains("\"phase\":\"run\""));
        assert!(
            of.any(|line| line.contains(&fields) && line.contains(&outcome)),
            "{}",
            out.recorded
        );
    }
}
