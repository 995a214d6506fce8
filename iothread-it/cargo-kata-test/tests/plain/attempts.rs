//! Attempts: retries, repeated tests, expected failures and unstable tests.

use std::fs;

use kata_test_runner::Outcome;

use super::Scratch;

/// Tests that count their attempts in files.
const COUNTING: &str = r#"
fn count(test: &str) -> usize {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let before = std::fs::read(&file).unwrap_or_default().len();
    std::fs::write(file, vec![b'x'; before + 1]).unwrap();
    before + 1
}
#[test] fn passes_at_the_third() { assert_eq!(count("third"), 3); }
#[test] fn passes() { count("passes"); }
#[test] fn fails() { panic!(); }
"#;

#[test]
fn failed_tests_are_retried_and_passed_ones_repeated() {
    let scratch = Scratch::new();
    scratch.write("tests/e2e/main.rs", COUNTING);
    let retry = "[[tests]]\nfilter = \"test(third)\"\nretries = 2\n";
    scratch.write(".config/kata-test.toml", retry);
    let counts = scratch.0.path().join("target/tmp");
    let third = |arguments: &[&str]| {
        let _ = fs::remove_file(counts.join("third"));
        let output = scratch.run(&[&["--test=end-to-end", "third"], arguments].concat());
        let outcomes = scratch.outcomes();
        (
            output.status.code(),
            outcomes[0].outcome,
            outcomes[0].attempt,
        )
    };
    assert_eq!(third(&[]), (Some(0), Outcome::Flaky, 3));
    let junit = scratch.report("junit.xml");
    assert_eq!(junit.matches("<flakyFailure").count(), 2, "{junit}");
    assert_eq!(
        third(&["--flaky-result=fail"]),
        (Some(1), Outcome::Flaky, 3)
    );
    assert_eq!(third(&["--retries=1"]), (Some(1), Outcome::Failed, 2));

    let arguments = ["--test=end-to-end", "--repeat=4", "--shuffle-seed=7", "s"];
    let output = scratch.run(&arguments);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("shuffle seed: 7\n"), "{stdout}");
    let outcomes = scratch.outcomes();
    let of = |test: &str| {
        let found = outcomes.iter().find(|one| one.test == test);
        found.map(|one| (one.outcome, one.attempt))
    };
    assert_eq!(of("passes"), Some((Outcome::Passed, 4)));
    assert_eq!(of("fails"), Some((Outcome::Failed, 1)));
    assert_eq!(fs::read(counts.join("passes")).expect("a count").len(), 4);
}

#[test]
fn the_configuration_expects_failures_and_excuses_unstable_tests() {
    let scratch = Scratch::new();
    scratch.write(
        ".config/kata-test.toml",
        r#"
[[tests]]
filter = "test(lacks_permission)"
expect-failure = { requires = 'kernel_ge = "2.6"', message = "not permitted", issue = "x#1" }

[[tests]]
filter = "test(crashes)"
expect-failure = { crash = true }

[[tests]]
filter = "test(=passes)"
expect-failure = { requires = 'kernel_ge = "99.0"' }

[[tests]]
filter = "test(panics_as_it_should)"
expect-failure = { issue = "x#2" }
retries = 3

[[tests]]
filter = "test(hangs)"
timeout = "1s"
unstable = "x#3"
retries = 1
"#,
    );
    let chosen = "test(lacks_) | test(crashes) | test(=passes) | test(panics_) | test(hangs)";
    let ran = scratch.run(&["-E", chosen]);
    assert_eq!(ran.status.code(), Some(1), "an unexpected pass");
    let outcomes = scratch.outcomes();
    let found: Vec<_> = outcomes
        .iter()
        .map(|one| (one.test.as_str(), one.outcome, one.attempt))
        .collect();
    assert_eq!(
        found,
        [
            ("crashes", Outcome::ExpectedFailure, 1),
            ("hangs", Outcome::Unstable, 2),
            ("lacks_permission", Outcome::ExpectedFailure, 1),
            ("panics_as_it_should", Outcome::UnexpectedPass, 1),
            ("passes", Outcome::Passed, 1),
        ]
    );
    assert_eq!(outcomes[1].reason.as_deref(), Some("x#3"));
    assert_eq!(outcomes[2].issue.as_deref(), Some("x#1"));
    assert_eq!(outcomes[2].reason.as_deref(), Some("kernel >= 2.6"));
    let junit = scratch.report("junit.xml");
    for text in [
        "type=\"expected failure\"/>",
        "type=\"unstable\"/>",
        "<failure",
    ] {
        assert!(junit.contains(text), "{text} is missing in {junit}");
    }
    let screen = String::from_utf8_lossy(&ran.stdout);
    for word in ["   XFAIL [", "   XPASS [", "UNSTABLE ["] {
        assert!(screen.contains(word), "{word:?} is missing in {screen}");
    }

    let chosen = "test(lacks_) | test(crashes) | test(hangs)";
    let ran = scratch.run(&["-E", chosen]);
    assert_eq!(ran.status.code(), Some(0), "no failure is left");
}
