//! Scope: reading and judging. What a run makes of it is shown by the sample binaries.

use std::borrow::Cow;

use super::*;
use crate::facts::{Answer, Finding, Question};

/// An unprivileged user on a Debian whose KVM is unknown.
struct MadeUp;

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        let (finding, source) = match question {
            Question::EffectiveUid => (Finding::Is("1000".into()), "geteuid"),
            Question::KernelRelease => (Finding::Is("6.1.0-18-amd64".into()), "uname"),
            _ => (Finding::Unknown("unknown".into()), "a made-up host"),
        };
        Cow::Owned(Answer::new(finding, source))
    }
}

fn read(variables: &[(&str, &str)]) -> Result<Contract, String> {
    Contract::read(|name| {
        let value = variables.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| (*value).into())
    })
}

fn reasons(constraints: &str) -> Vec<Reason> {
    let constraints = crate::constraint::parse(constraints).expect("constraints");
    evaluate(&constraints, &MadeUp).reasons
}

#[test]
fn unset_variables_have_no_effect() {
    for variables in [&[][..], &[(EXPECT, " "), (UNSKIP, "0")], &[(UNSKIP, "")]] {
        let contract = read(variables).expect("a contract");
        assert_eq!(contract.check(&MadeUp), Ok(()));
        assert_eq!(contract.forbids(&reasons("root")), None);
        assert!(!contract.unskip);
    }
    assert!(read(&[(UNSKIP, "1")]).expect("a contract").unskip);
}

#[test]
fn a_host_is_checked_against_every_promise() {
    let check = |text| read(&[(EXPECT, text)]).expect("a contract").check(&MadeUp);
    assert_eq!(check("non_root, kernel_ge = \"6.1\""), Ok(()));
    assert_eq!(
        check("root, kernel_ge = \"6.1\", kernel_ge = \"6.2\""),
        Err(
            "this host does not meet KATA_TEST_EXPECT (root, kernel_ge = \"6.1\", \
             kernel_ge = \"6.2\"), so no test was run: needs root: effective uid is 1000 (geteuid); \
             needs kernel >= 6.2: kernel is 6.1.0-18-amd64 (uname)\nfix the host or relax KATA_TEST_EXPECT"
                .to_owned()
        )
    );
    let undetermined = check("non_root, kvm").expect_err("an unknown fact");
    assert!(
        undetermined.starts_with("this host cannot be shown to meet KATA_TEST_EXPECT")
            && undetermined.contains("needs kvm: unknown"),
        "{undetermined}"
    );
}

#[test]
fn errors_name_their_variable() {
    let problem = |name, text| read(&[(name, text)]).expect_err(text);
    assert_eq!(
        problem(EXPECT, "rot"),
        "KATA_TEST_EXPECT: unknown constraint `rot`; did you mean `root`? at \"rot\""
    );
    assert_eq!(
        problem(MAY_SKIP, "kernel_gee = \"6.1\""),
        "KATA_TEST_MAY_SKIP: unknown constraint `kernel_gee`; did you mean `kernel_ge`? at \
         \"kernel_gee = \\\"6.1\\\"\""
    );
    assert_eq!(
        problem(UNSKIP, "yes"),
        "KATA_TEST_UNSKIP must be 0 or 1, got \"yes\""
    );
    let no_text = Contract::read(|_| Some(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])));
    let no_text = no_text.expect_err("no text");
    assert!(
        no_text.starts_with("KATA_TEST_EXPECT is not valid UTF-8"),
        "{no_text}"
    );
}

#[test]
fn every_reason_of_a_skip_has_to_be_allowed() {
    let forbids = |may_skip, test| {
        let contract = read(&[(MAY_SKIP, may_skip)]).expect("a contract");
        contract.forbids(&reasons(test))
    };
    assert_eq!(forbids("root", "root"), None);
    assert_eq!(
        forbids("kernel_ge = \"6.2\", root", "root, kernel = \">= 6.2\""),
        None
    );
    assert_eq!(
        forbids("root", "root, kernel_ge = \"6.2\""),
        Some(
            "a skip for kernel >= 6.2 is not allowed here: KATA_TEST_MAY_SKIP lists root"
                .to_owned()
        )
    );
    // The very constraint, not one like it.
    assert!(forbids("kernel_ge = \"6.3\"", "kernel_ge = \"6.2\"").is_some());
    // Reasons name atoms, also those of a list.
    assert_eq!(
        forbids(
            "any(root, kernel_ge = \"9\")",
            "any(kernel_ge = \"9\", root)"
        ),
        None
    );
    let either = "any(kernel = \">= 7, < 9\", root)";
    assert_eq!(forbids("kernel = \">= 7, < 9\", root", either), None);
    assert!(forbids("root", either).is_some());
    assert!(forbids("kernel = \">= 7, < 9\"", either).is_some());
    assert_eq!(forbids("not(any(non_root, kvm))", "not(non_root)"), None);
    assert!(forbids("non_root", "not(non_root)").is_some());
    // Set and empty is an allowance for nothing.
    assert_eq!(
        forbids("", "root").as_deref(),
        Some("a skip for root is not allowed here: KATA_TEST_MAY_SKIP lists nothing")
    );
}

#[test]
fn probes_and_runtime_skips_can_be_allowed() {
    let skipped = [Reason::runtime_skip("no disk", "a.rs:1")];
    let probed = [Reason::constraint(
        "when disks::has_loop",
        "there is none",
        "/dev/loop0",
    )];
    let allows = |may_skip: &str, reasons: &[Reason]| {
        let contract = read(&[(MAY_SKIP, may_skip)]).expect("a contract");
        contract.forbids(reasons).is_none()
    };
    // No constraint allows a runtime skip.
    assert!(!allows("root", &skipped));
    for list in [
        "skip!",
        "root, skip!",
        "skip! , any(root, kvm), kernel_ge = \"6.1\"",
    ] {
        assert!(allows(list, &skipped), "{list}");
        assert!(!allows(list, &probed), "{list}");
    }
    for list in [
        "when = disks::has_loop",
        "kvm, when = \"disks::has_loop\", root",
    ] {
        assert!(allows(list, &probed), "{list}");
        assert!(!allows(list, &skipped), "{list}");
    }
    assert!(!allows("when = has_loop", &probed));
    // Positions of errors in the rest stay valid.
    assert_eq!(
        read(&[(MAY_SKIP, "skip!, rot")]).expect_err("a problem"),
        "KATA_TEST_MAY_SKIP: unknown constraint `rot`; did you mean `root`? at \"rot\""
    );
    assert!(read(&[(MAY_SKIP, "skip")]).is_err());
    assert!(read(&[(MAY_SKIP, "when = f()")]).is_err());
}
