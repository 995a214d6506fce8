//! What the environment promises and allows, under both harnesses.

use std::sync::LazyLock;

use crate::run::{Finished, Sample};

static OURS: LazyLock<Sample> = LazyLock::new(|| Sample::build("sample"));
static PLAIN: LazyLock<Sample> = LazyLock::new(|| Sample::build("plain"));
static SKIPS: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips"));
static SKIPS_LIBTEST: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips_libtest"));

fn run(sample: &Sample, variables: &[(&str, &str)], args: &[&str]) -> Finished {
    let mut command = sample.command(args);
    command.envs(variables.iter().copied());
    Finished::by(command)
}

const BROKEN: (&str, &str) = (
    "KATA_TEST_EXPECT",
    "kernel_ge = \"2.6\", kernel_ge = \"99.1\", command = \"no-such-command\"",
);
const KEPT: (&str, &str) = (
    "KATA_TEST_EXPECT",
    "kernel_ge = \"2.6\", not(command = \"no-such-command\")",
);

#[test]
fn an_unmet_contract_stops_the_run_before_any_test() {
    for args in [
        &["passes::"][..],
        &["--list"],
        &["--list", "--format=terse", "--ignored"],
    ] {
        let out = run(&OURS, &[BROKEN], args);
        assert_eq!((out.code, out.stdout.as_str()), (Some(101), ""), "{args:?}");
        for text in [
            "error: this host does not meet KATA_TEST_EXPECT (kernel_ge",
            "needs kernel >= 99.1: kernel is ",
            "needs command no-such-command: ",
        ] {
            assert!(
                out.stderr.contains(text),
                "{text:?} is missing in {}",
                out.stderr
            );
        }
        assert!(
            !out.stderr.contains("needs kernel >= 2.6"),
            "{}",
            out.stderr
        );
    }
    assert_eq!(run(&OURS, &[KEPT], &["passes::"]).code, Some(0));

    // Rust's own harness can be stopped test by test only.
    let out = run(&PLAIN, &[BROKEN], &["passes::"]);
    assert_eq!(out.code, Some(101));
    assert!(out.stdout.contains("0 passed; 5 failed"), "{}", out.stdout);
    assert!(
        out.stdout.contains("this host does not meet"),
        "{}",
        out.stdout
    );
    assert_eq!(run(&PLAIN, &[KEPT], &["passes::"]).code, Some(0));
}

#[test]
fn an_unknown_name_stops_the_run() {
    for name in ["KATA_TEST_EXPECT", "KATA_TEST_MAY_SKIP"] {
        let out = run(&OURS, &[(name, "rot")], &["passes::"]);
        assert_eq!((out.code, out.stdout.as_str()), (Some(101), ""));
        assert_eq!(
            out.stderr,
            format!("error: {name}: unknown constraint `rot`; did you mean `root`? at \"rot\"\n")
        );
    }
    let out = run(&OURS, &[("KATA_TEST_UNSKIP", "maybe")], &["passes::"]);
    assert_eq!(out.code, Some(101));
}

#[test]
fn a_skip_that_is_not_allowed_fails() {
    const SOME: (&str, &str) = ("KATA_TEST_MAY_SKIP", "command = \"no-such-command\"");
    let out = run(&SKIPS, &[SOME], &["skips::"]);
    assert_eq!(out.code, Some(101));
    let allowed = out.line("cases::skips::in_a_helper");
    assert!(allowed.contains("ignored, needs command"), "{allowed}");
    let forbidden = out.line("cases::skips::by_needs");
    assert!(forbidden.ends_with("FAILED"), "{forbidden}");
    assert!(
        out.stdout.contains(
            "a skip for kernel >= 99.1 is not allowed here: KATA_TEST_MAY_SKIP lists command = "
        ) && out.stdout.contains("0 passed; 4 failed; 1 ignored"),
        "{}",
        out.stdout
    );

    let sample = Sample::build("sample");
    let out = run(&sample, &[SOME], &["needs::much"]);
    assert_eq!(out.code, Some(101));
    assert!(
        out.stdout.contains("a skip for kernel >= 99.1 is not"),
        "{}",
        out.stdout
    );
    let recorded = sample.recorded();
    assert!(
        recorded.contains("\"outcome\":\"failed\"") && recorded.contains("kernel >= 99.1"),
        "{recorded}"
    );
    const BOTH: (&str, &str) = (
        "KATA_TEST_MAY_SKIP",
        "command = \"no-such-command\", kernel_ge = \"99.1\"",
    );
    for sample in [&OURS, &PLAIN] {
        assert_eq!(run(sample, &[BOTH], &["needs::much"]).code, Some(0));
    }
    for (sample, test) in [(&PLAIN, "needs::much"), (&SKIPS_LIBTEST, "skips::by_needs")] {
        let out = run(sample, &[SOME], &[test]);
        assert_eq!(out.code, Some(101));
        assert!(out.stdout.contains("is not allowed here"), "{}", out.stdout);
    }

    // To nextest such a test is not ignored, so that it runs, and fails.
    let listed = |variable| {
        let variables = [variable, ("NEXTEST", "1")];
        let arguments = ["--list", "--format=terse", "--ignored"];
        let out = run(&OURS, &variables, &arguments);
        assert_eq!(out.code, Some(0), "{out:?}");
        out.stdout
    };
    assert!(!listed(SOME).contains("needs::much"));
    assert!(listed(BOTH).contains("needs::much"));
}

#[test]
fn unmet_tests_can_be_run_to_find_stale_constraints() {
    const UNSKIP: (&str, &str) = ("KATA_TEST_UNSKIP", "1");
    let sample = Sample::build("sample");
    let out = run(&sample, &[UNSKIP], &["needs::much", "needs::a_probe"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    assert_eq!(
        out.line("cases::needs::a_probe"),
        "test cases::needs::a_probe ... ok, with a stale constraint: needs when hearsay: nobody has \
         heard of it (hearsay)"
    );
    let much = out.line("cases::needs::much");
    assert!(
        much.contains("... ignored, needs kernel >= 99.1: ")
            && much.ends_with("; ran anyway (KATA_TEST_UNSKIP) and failed"),
        "{much}"
    );
    assert!(
        out.stdout.contains(
            "stale constraints (these tests passed although they are unmet):\n    \
             cases::needs::a_probe: when hearsay\n"
        ) && out.stdout.contains("1 passed; 0 failed; 1 ignored"),
        "{}",
        out.stdout
    );
    let recorded = sample.recorded();
    let stale = |line: &str| {
        line.contains("\"outcome\":\"passed\"") && line.contains("\"constraint\":\"when hearsay\"")
    };
    assert!(recorded.lines().any(stale), "{recorded}");

    // Constraints of `require!` count too.
    let out = run(
        &SKIPS,
        &[UNSKIP],
        &["skips::by_needs", "skips::in_a_helper"],
    );
    let helper = out.line("cases::skips::in_a_helper");
    assert!(
        helper.contains("ok, with a stale constraint: needs command"),
        "{helper}"
    );
    let by_needs = out.line("cases::skips::by_needs");
    assert!(
        by_needs.ends_with("ran anyway (KATA_TEST_UNSKIP) and failed"),
        "{by_needs}"
    );
    let out = run(
        &SKIPS_LIBTEST,
        &[UNSKIP],
        &["skips::by_needs", "skips::in_a_helper"],
    );
    assert!(
        out.stderr
            .contains("in_a_helper passed with a stale constraint: needs command")
            && out.stderr.contains("1 test reported as \"ok\" was skipped"),
        "{}",
        out.stderr
    );
    let args = ["--in-process", "skips::in_a_helper"];
    let out = run(&SKIPS, &[UNSKIP], &args);
    let helper = out.line("cases::skips::in_a_helper");
    assert!(helper.contains("ok, with a stale constraint"), "{helper}");
    let out = run(&PLAIN, &[UNSKIP], &["needs::much", "needs::a_probe"]);
    assert!(
        out.stderr
            .contains("a_probe passed with a stale constraint: needs when hearsay")
            && out.stderr.contains("1 test reported as \"ok\" was skipped"),
        "{}",
        out.stderr
    );

    // With KATA_TEST_UNSKIP the list for nextest marks no test as ignored: each of them runs.
    let nextest = |args: &[&str]| run(&OURS, &[UNSKIP, ("NEXTEST", "1")], args);
    let listed = nextest(&["--list", "--format=terse", "--ignored"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(!listed.stdout.contains("needs::"), "{listed:?}");
    let out = nextest(&["--exact", "cases::needs::much", "--nocapture"]);
    assert_eq!(out.code, Some(101));
    assert_eq!(nextest(&["--exact", "cases::needs::a_probe"]).code, Some(0));
}

#[test]
fn a_list_evaluates_a_recorded_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old-host.json");
    let facts = r#"{"schema":1,"facts":[
        {"question":"effective uid","finding":"is","text":"0","source":"geteuid"},
        {"question":"kernel release","finding":"is","text":"2.4.37","source":"uname"},
        {"question":"command no-such-command","finding":"absent","text":"none","source":"PATH"}
    ]}"#;
    std::fs::write(&file, facts).expect("a file");
    let variable = ("KATA_TEST_FACTS", file.to_str().expect("a path"));
    let out = run(&OURS, &[variable], &["--list", "needs::", "passes::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    for line in [
        "cases::needs::root: met",
        // Recorded as root, so that it would be given another user.
        "cases::needs::non_root: met",
        "cases::needs::much: unmet, needs kernel >= 99.1: kernel is 2.4.37 (uname); needs command \
         no-such-command: none (PATH)",
        "cases::needs::a_probe: ?, needs when hearsay: not recorded (old-host.json)",
        "cases::passes::under_the_other_name: unmet, needs kernel >= 2.6: kernel is 2.4.37 (uname)",
    ] {
        assert!(
            out.stdout.lines().any(|known| known == line),
            "{line} is missing in {}",
            out.stdout
        );
    }
    assert!(
        out.stdout
            .ends_with("\n6 met, 2 unmet, 3 ?, 0 undetermined\n"),
        "{}",
        out.stdout
    );

    // To nextest the list has its own form, about the same host.
    let args = [
        "--list",
        "--format=terse",
        "--ignored",
        "passes::",
        "::non_root",
    ];
    let out = run(&OURS, &[variable, ("NEXTEST", "1")], &args);
    assert_eq!(out.stdout, "cases::passes::under_the_other_name: test\n");

    // Tests run on this host only, and the contract applies to the recorded one.
    for sample in [&OURS, &PLAIN] {
        let out = run(sample, &[variable], &["passes::with_a_result"]);
        assert_eq!(out.code, Some(101));
        let text = out.stdout + &out.stderr;
        assert!(text.contains("KATA_TEST_FACTS applies to lists"), "{text}");
    }
    let out = run(&OURS, &[variable, KEPT], &["--list"]);
    assert_eq!(out.code, Some(101));
    assert!(
        out.stderr.contains("needs kernel >= 2.6: kernel is 2.4.37"),
        "{}",
        out.stderr
    );
    let out = run(&OURS, &[("KATA_TEST_FACTS", "/no/such/file")], &["--list"]);
    assert_eq!((out.code, out.stdout.as_str()), (Some(101), ""));
}
