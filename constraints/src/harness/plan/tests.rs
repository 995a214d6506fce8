//! Scope: decisions and lists for a made-up host. Which process is run or recorded is shown by the sample
//! binaries.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use super::super::cli::{self, Command, Environment};
use super::*;
use crate::constraint::{Constraint, parse};
use crate::facts::{Answer, Finding, Question};
use crate::registry::Body;

/// An unprivileged user whose KVM is unknown.
struct MadeUp;

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        let finding = match question {
            Question::EffectiveUid => Finding::Is("1000".into()),
            Question::KernelRelease => Finding::Is("6.1.0".into()),
            _ => Finding::Unknown("unknown".into()),
        };
        Cow::Owned(Answer::new(finding, "a made-up host"))
    }
}

fn plan(caller: Caller, arguments: &[&str]) -> Plan {
    let environment = Environment {
        threads: None,
        no_capture: false,
        shuffle: false,
        shuffle_seed: None,
        retries: None,
        repeat: None,
        cpus: NonZeroUsize::MIN,
    };
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    let Ok(Command::Tests(options)) = cli::parse(arguments, environment) else {
        panic!("the arguments are invalid");
    };
    Plan {
        target: Target {
            package: Some("p"),
            krate: Some("p"),
            bin: None,
            tmpdir: None,
            file: "src/lib.rs",
        },
        caller,
        options,
        contract: Contract::default(),
    }
}

/// Returns a test of this name with these constraints.
fn test(name: &'static str, constraints: &str) -> &'static Test {
    let constraints: Vec<Constraint> = parse(constraints).expect("constraints");
    let mut test = Test::new(name, Body::Unit(|| ()));
    test.constraints = constraints.leak();
    Box::leak(Box::new(test))
}

fn decision(plan: &Plan, test: &'static Test) -> Decision {
    let mut decided = plan.decide(&[test], &MadeUp);
    decided.remove(0).decision
}

fn ignored(name: &'static str) -> &'static Test {
    let mut test = Test::new(name, Body::Unit(|| ()));
    test.ignore = Some("slow");
    Box::leak(Box::new(test))
}

#[test]
fn a_met_test_runs_an_unmet_one_is_skipped_and_an_undetermined_one_fails() {
    let plan = plan(Caller::Direct, &[]);
    assert_eq!(
        decision(&plan, test("p::met", "kernel_ge = \"5.10\"")),
        Decision::Run(Vec::new())
    );

    let Decision::Skip(reasons) = decision(&plan, test("p::unmet", "root")) else {
        panic!("it is not skipped");
    };
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].constraint, "root");

    let Decision::Fail {
        outcome,
        reasons,
        why,
    } = decision(&plan, test("p::unknown", "kvm"))
    else {
        panic!("it does not fail");
    };
    assert_eq!(outcome, Outcome::Undetermined);
    assert_eq!(reasons.len(), 1);
    assert!(
        why.starts_with("not run: its constraints are undetermined: needs kvm"),
        "{why}"
    );
    assert!(why.ends_with('\n'));
}

#[test]
fn an_unmet_test_runs_with_unskip_only() {
    let mut plan = plan(Caller::Direct, &["p::unmet", "--exact"]);
    plan.contract.unskip = true;
    let Decision::Run(reasons) = decision(&plan, test("p::unmet", "root")) else {
        panic!("it does not run");
    };
    assert_eq!(reasons[0].constraint, "root");
    let undetermined = decision(&plan, test("p::unknown", "kvm"));
    assert!(matches!(
        undetermined,
        Decision::Fail {
            outcome: Outcome::Undetermined,
            ..
        }
    ));
}

#[test]
fn an_ignored_test_stays_ignored_unless_it_is_selected() {
    let test = ignored("p::ignored");
    let none = plan(Caller::Direct, &[]);
    assert_eq!(decision(&none, test), Decision::Ignore("slow"));
    for argument in ["--ignored", "--include-ignored"] {
        let plan = plan(Caller::Direct, &[argument]);
        assert_eq!(
            decision(&plan, test),
            Decision::Run(Vec::new()),
            "{argument}"
        );
    }
}

/// The text with which an unmet test fails.
fn failure(plan: &Plan) -> String {
    match decision(plan, test("p::unmet", "root")) {
        Decision::Fail {
            outcome: Outcome::Failed,
            why,
            ..
        } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_skip_that_nextest_would_show_as_a_pass_is_a_failure() {
    let plan = plan(Caller::NextestRun, &["p::unmet", "--exact"]);
    assert!(failure(&plan).contains("listed in another environment"));
    let ran = plan.forbids_skip(test("p::unmet", "root"), &[], true);
    assert!(ran.is_some_and(|why| why.contains("of the test's attribute")));
}

#[test]
fn a_test_that_was_requested_by_its_full_name_fails_instead_of_being_skipped() {
    let named = plan(Caller::Direct, &["unmet"]);
    assert!(failure(&named).contains("requested by its full name"));
    let part = plan(Caller::Direct, &["unme"]);
    assert!(matches!(
        decision(&part, test("p::unmet", "root")),
        Decision::Skip(_)
    ));
}

#[test]
fn a_skip_that_the_allowance_lacks_is_a_failure_with_both_texts() {
    let mut plan = plan(Caller::Direct, &[]);
    plan.contract = Contract::with_allowance("kvm");
    let why = failure(&plan);
    assert!(why.starts_with("not run: needs root"), "{why}");
    assert!(why.contains("is not allowed here"), "{why}");
}

#[test]
fn only_a_direct_caller_of_the_pretty_format_is_a_person() {
    for (caller, arguments, expected) in [
        (Caller::Direct, &[][..], true),
        (Caller::Direct, &["--format=terse"], false),
        (Caller::NextestList, &[], false),
    ] {
        let plan = plan(caller, arguments);
        assert_eq!(plan.is_for_a_person(), expected, "{caller:?} {arguments:?}");
    }
}

#[test]
fn the_list_is_libtest_s() {
    let tests = [test("p::a", "root"), ignored("p::b")];
    let list = |arguments: &[&str], count: usize| {
        plan(Caller::Direct, arguments).list(&tests[..count], &MadeUp)
    };
    assert_eq!(
        list(&["--list"], 2),
        "a: test\nb: test\n\n2 tests, 0 benchmarks\n"
    );
    assert_eq!(list(&["--list"], 1), "a: test\n\n1 test, 0 benchmarks\n");
    assert_eq!(list(&["--list"], 0), "0 tests, 0 benchmarks\n");
    assert_eq!(list(&["--list", "--format=terse"], 2), "a: test\nb: test\n");
    assert_eq!(
        list(&["--list", "--format=terse", "--ignored"], 2),
        "b: test\n"
    );
    let json = list(&["--list", "--format=json", "-Zunstable-options"], 2);
    assert!(
        json.contains("\"name\":\"b\"") && json.contains("\"ignore\":true"),
        "{json}"
    );
}

#[test]
fn nextest_has_retries_of_its_own() {
    let test = test("p::met", "kernel_ge = \"5.10\"");
    for (caller, attempts) in [(Caller::Direct, 3), (Caller::NextestRun, 1)] {
        let plan = plan(caller, &["--retries", "2"]);
        assert_eq!(plan.attempts(test), attempts);
    }
}

/// Each outcome that is recorded of a listed test with the number of its reasons, and the tests that nextest skips.
fn listed(plan: &Plan, tests: &[&'static Test]) -> (Vec<(Outcome, usize)>, Vec<&'static str>) {
    let listed = plan.listed(tests, &MadeUp);
    let outcomes = listed.iter();
    let outcomes = outcomes.map(|listed| (listed.outcome(), listed.reasons().len()));
    let skipped = skipped(&listed).into_iter().map(Test::name);
    (outcomes.collect(), skipped.collect())
}

#[test]
fn nextest_skips_unmet_and_ignored_tests() {
    let mut plan = plan(Caller::NextestList, &["--list", "--ignored"]);
    let tests = [
        test("p::met", "kernel_ge = \"5.10\""),
        test("p::unmet", "root"),
        test("p::unknown", "kvm"),
        ignored("p::ignored"),
    ];
    let (met, ignored) = ((Outcome::Lost, 0), (Outcome::Ignored, 0));
    let all = [met, (Outcome::Skipped, 1), met, ignored];
    assert_eq!(
        listed(&plan, &tests),
        (all.into(), vec!["unmet", "ignored"])
    );
    let without = ([met, met, met, ignored].into(), vec!["ignored"]);
    plan.contract.unskip = true;
    assert_eq!(listed(&plan, &tests), without);
    plan.contract = Contract::with_allowance("kvm");
    assert_eq!(listed(&plan, &tests), without);
    plan.contract = Contract::with_allowance("root");
    assert_eq!(listed(&plan, &tests).1, ["unmet", "ignored"]);
}

#[test]
fn only_nextest_s_list_of_ignored_tests_is_for_it_to_skip() {
    for (caller, arguments, expected) in [
        (Caller::NextestList, &["--list", "--ignored"][..], true),
        (Caller::NextestList, &["--list"], false),
        (Caller::NextestRun, &["--ignored"], false),
        (Caller::Direct, &["--list", "--ignored"], false),
    ] {
        let plan = plan(caller, arguments);
        assert_eq!(
            plan.is_for_nextest_to_skip(),
            expected,
            "{caller:?} {arguments:?}"
        );
    }
}

/// Where this process is root's, and otherwise every test is evaluated as its user.
#[test]
fn tests_of_another_user_are_evaluated_as_that_user() {
    let plan = plan(Caller::Direct, &[]);
    let tests = [
        test("p::first", "uid = 4321"),
        test("p::met", "kernel_ge = \"5.10\""),
        test("p::other", "uid = 4322"),
        test("p::second", "uid = 4321"),
    ];
    let evaluated = plan.evaluate(&tests, &MadeUp);
    let uids = evaluated.iter().map(|evaluated| {
        let evaluated = evaluated.as_ref().expect("no test is ignored");
        evaluated.user.map(User::uid)
    });
    let expected = match nix::unistd::geteuid().is_root() {
        true => [Some(4321), None, Some(4322), Some(4321)],
        false => [None; 4],
    };
    assert_eq!(uids.collect::<Vec<_>>(), expected);
}
