//! What the environment promises and allows, under both harnesses.

use std::sync::LazyLock;

use crate::run::{Said, Sample};

static OURS: LazyLock<Sample> = LazyLock::new(|| Sample::build("sample"));
static PLAIN: LazyLock<Sample> = LazyLock::new(|| Sample::build("plain"));
static SKIPS: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips"));
static SKIPS_LIBTEST: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips_libtest"));

fn run(sample: &Sample, variables: &[(&str, &str)], args: &[&str]) -> Said {
    let mut command = sample.command(args);
    command.envs(variables.iter().copied());
    Said::by(command)
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
        let said = run(&OURS, &[BROKEN], args);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(101), ""),
            "{args:?}"
        );
        for text in [
            "error: this host does not meet KATA_TEST_EXPECT (kernel_ge",
            "needs kernel >= 99.1: kernel is ",
            "needs command no-such-command: ",
        ] {
            assert!(
                said.stderr.contains(text),
                "{text:?} is missing in {}",
                said.stderr
            );
        }
        assert!(
            !said.stderr.contains("needs kernel >= 2.6"),
            "{}",
            said.stderr
        );
    }
    assert_eq!(run(&OURS, &[KEPT], &["passes::"]).code, Some(0));

    // Rust's own harness can be stopped test by test only.
    let said = run(&PLAIN, &[BROKEN], &["passes::"]);
    assert_eq!(said.code, Some(101));
    assert!(
        said.stdout.contains("0 passed; 5 failed"),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.contains("this host does not meet"),
        "{}",
        said.stdout
    );
    assert_eq!(run(&PLAIN, &[KEPT], &["passes::"]).code, Some(0));
}

#[test]
fn an_unknown_name_stops_the_run() {
    for name in ["KATA_TEST_EXPECT", "KATA_TEST_MAY_SKIP"] {
        let said = run(&OURS, &[(name, "rot")], &["passes::"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(101), ""));
        assert_eq!(
            said.stderr,
            format!("error: {name}: unknown constraint `rot`; did you mean `root`? at \"rot\"\n")
        );
    }
    let said = run(&OURS, &[("KATA_TEST_UNSKIP", "maybe")], &["passes::"]);
    assert_eq!(said.code, Some(101));
}

#[test]
fn a_skip_that_is_not_allowed_fails() {
    const SOME: (&str, &str) = ("KATA_TEST_MAY_SKIP", "command = \"no-such-command\"");
    let said = run(&SKIPS, &[SOME], &["skips::"]);
    assert_eq!(said.code, Some(101));
    let allowed = said.line("cases::skips::in_a_helper");
    assert!(allowed.contains("ignored, needs command"), "{allowed}");
    let forbidden = said.line("cases::skips::by_needs");
    assert!(forbidden.ends_with("FAILED"), "{forbidden}");
    assert!(
        said.stdout.contains(
            "a skip for kernel >= 99.1 is not allowed here: KATA_TEST_MAY_SKIP lists command = "
        ) && said.stdout.contains("0 passed; 4 failed; 1 ignored"),
        "{}",
        said.stdout
    );

    let sample = Sample::build("sample");
    let said = run(&sample, &[SOME], &["needs::much"]);
    assert_eq!(said.code, Some(101));
    assert!(
        said.stdout.contains("a skip for kernel >= 99.1 is not"),
        "{}",
        said.stdout
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
        let said = run(sample, &[SOME], &[test]);
        assert_eq!(said.code, Some(101));
        assert!(
            said.stdout.contains("is not allowed here"),
            "{}",
            said.stdout
        );
    }

    // To nextest such a test is not ignored, so that it runs, and fails.
    let listed = |variable| {
        let variables = [variable, ("NEXTEST", "1")];
        run(
            &OURS,
            &variables,
            &["--list", "--format=terse", "--ignored"],
        )
        .stdout
    };
    assert!(!listed(SOME).contains("needs::much"));
    assert!(listed(BOTH).contains("needs::much"));
}

#[test]
fn unmet_tests_can_be_run_to_find_stale_constraints() {
    const UNSKIP: (&str, &str) = ("KATA_TEST_UNSKIP", "1");
    let sample = Sample::build("sample");
    let said = run(&sample, &[UNSKIP], &["needs::much", "needs::a_probe"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        said.line("cases::needs::a_probe"),
        "test cases::needs::a_probe ... ok, with a stale constraint: needs when hearsay: nobody has \
         heard of it (hearsay)"
    );
    let much = said.line("cases::needs::much");
    assert!(
        much.contains("... ignored, needs kernel >= 99.1: ")
            && much.ends_with("; ran anyway (KATA_TEST_UNSKIP) and failed"),
        "{much}"
    );
    assert!(
        said.stdout.contains(
            "stale constraints (these tests passed although they are unmet):\n    \
             cases::needs::a_probe: when hearsay\n"
        ) && said.stdout.contains("1 passed; 0 failed; 1 ignored"),
        "{}",
        said.stdout
    );
    let recorded = sample.recorded();
    let stale = |line: &str| {
        line.contains("\"outcome\":\"passed\"") && line.contains("\"constraint\":\"when hearsay\"")
    };
    assert!(recorded.lines().any(stale), "{recorded}");

    // Constraints of `require!` count too.
    let said = run(
        &SKIPS,
        &[UNSKIP],
        &["skips::by_needs", "skips::in_a_helper"],
    );
    let helper = said.line("cases::skips::in_a_helper");
    assert!(
        helper.contains("ok, with a stale constraint: needs command"),
        "{helper}"
    );
    let by_needs = said.line("cases::skips::by_needs");
    assert!(
        by_needs.ends_with("ran anyway (KATA_TEST_UNSKIP) and failed"),
        "{by_needs}"
    );
    let said = run(
        &SKIPS_LIBTEST,
        &[UNSKIP],
        &["skips::by_needs", "skips::in_a_helper"],
    );
    assert!(
        said.stderr
            .contains("in_a_helper passed with a stale constraint: needs command")
            && said
                .stderr
                .contains("1 test reported as \"ok\" was skipped"),
        "{}",
        said.stderr
    );
    let args = ["--in-process", "skips::in_a_helper"];
    let said = run(&SKIPS, &[UNSKIP], &args);
    let helper = said.line("cases::skips::in_a_helper");
    assert!(helper.contains("ok, with a stale constraint"), "{helper}");
    let said = run(&PLAIN, &[UNSKIP], &["needs::much", "needs::a_probe"]);
    assert!(
        said.stderr
            .contains("a_probe passed with a stale constraint: needs when hearsay")
            && said
                .stderr
                .contains("1 test reported as \"ok\" was skipped"),
        "{}",
        said.stderr
    );

    // With KATA_TEST_UNSKIP the list for nextest marks no test as ignored: each of them runs.
    let nextest = |args: &[&str]| run(&OURS, &[UNSKIP, ("NEXTEST", "1")], args);
    let listed = nextest(&["--list", "--format=terse", "--ignored"]).stdout;
    assert!(!listed.contains("needs::"), "{listed}");
    let said = nextest(&["--exact", "cases::needs::much", "--nocapture"]);
    assert_eq!(said.code, Some(101));
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
    let said = run(&OURS, &[variable], &["--list", "needs::", "passes::"]);
    assert_eq!(said.code, Some(0), "{said:?}");
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
            said.stdout.lines().any(|known| known == line),
            "{line} is missing in {}",
            said.stdout
        );
    }
    assert!(
        said.stdout
            .ends_with("\n6 met, 2 unmet, 3 ?, 0 undetermined\n"),
        "{}",
        said.stdout
    );

    // To nextest the list has its own form, about the same host.
    let args = [
        "--list",
        "--format=terse",
        "--ignored",
        "passes::",
        "::non_root",
    ];
    let said = run(&OURS, &[variable, ("NEXTEST", "1")], &args);
    assert_eq!(said.stdout, "cases::passes::under_the_other_name: test\n");

    // Tests run on this host only, and the contract applies to the recorded one.
    for sample in [&OURS, &PLAIN] {
        let said = run(sample, &[variable], &["passes::with_a_result"]);
        assert_eq!(said.code, Some(101));
        let text = said.stdout + &said.stderr;
        assert!(text.contains("KATA_TEST_FACTS applies to lists"), "{text}");
    }
    let said = run(&OURS, &[variable, KEPT], &["--list"]);
    assert_eq!(said.code, Some(101));
    assert!(
        said.stderr
            .contains("needs kernel >= 2.6: kernel is 2.4.37"),
        "{}",
        said.stderr
    );
    let said = run(&OURS, &[("KATA_TEST_FACTS", "/no/such/file")], &["--list"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(101), ""));
}
