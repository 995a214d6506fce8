//! What a checker keeps and shows.

use std::panic::catch_unwind;

use super::MadeUp;
use crate::{
    Operator, TestConstraint, need_kernel_version, need_kernel_version_equals,
    need_kernel_version_ge, need_kernel_version_gt, need_kernel_version_le, need_kernel_version_lt,
    need_kernel_version_not_equals, need_non_root, need_root, need_uid, with_issue,
};
use kata_test::facts::panic_text;

const DEBIAN: &str = "6.1.0-18-amd64";

fn text_of(panics: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = catch_unwind(panics).expect_err("it has to panic");
    panic_text(&*payload).expect("a text").to_owned()
}

#[test]
fn every_constraint_is_checked_and_the_issue_may_stand_anywhere() {
    let mut tc = TestConstraint::new(false);
    let needs = [
        need_root(),
        need_kernel_version_ge("6.1"),
        need_uid(7, Operator::Eq),
        with_issue("x/1"),
    ];
    assert!(tc.not_valid_on(&MadeUp::running(DEBIAN), &needs));
    assert_eq!(
        tc.to_string(),
        "failed: need uid == 0, got euid 1000; need uid == 7, got euid 1000; \
         passed: need kernel version >= \"6.1\", got version \"6.1.0-18-amd64\" (issue x/1)"
    );
    assert_eq!((tc.passed().len(), tc.failed().len()), (1, 2));
    assert!(tc.passed()[0].success && !tc.failed()[0].success);
    assert_eq!(tc.issue(), Some("x/1"));

    // What the call before found is forgotten.
    assert!(!tc.not_valid_on(&MadeUp::running(DEBIAN), &[need_non_root()]));
    assert_eq!(tc.to_string(), "passed: need uid != 0, got euid 1000");
    assert_eq!(tc.issue(), None);
}

#[test]
fn an_issue_alone_is_valid() {
    let mut tc = TestConstraint::new(false);
    assert!(!tc.not_valid(&[with_issue("x/1")]));
    assert_eq!(tc.to_string(), "nothing checked (issue x/1)");
}

#[test]
fn each_name_has_its_operator() {
    let host = MadeUp::running(DEBIAN);
    let holds =
        |needs: &[crate::Constraint]| !TestConstraint::new(false).not_valid_on(&host, needs);
    // Against an older, the same, and a newer version.
    for (need, expected) in [
        (need_kernel_version as fn(&str) -> _, [false, true, false]),
        (need_kernel_version_equals, [false, true, false]),
        (need_kernel_version_not_equals, [true, false, true]),
        (need_kernel_version_lt, [false, false, true]),
        (need_kernel_version_le, [false, true, true]),
        (need_kernel_version_gt, [true, false, false]),
        (need_kernel_version_ge, [true, true, false]),
    ] {
        assert_eq!(
            ["6.0.9", "6.1", "6.1.1"].map(|version| holds(&[need(version)])),
            expected
        );
    }
    // A range takes two.
    assert!(holds(&[
        need_kernel_version_ge("6.0"),
        need_kernel_version_lt("6.2")
    ]));
    assert!(!holds(&[
        need_kernel_version_ge("5.0"),
        need_kernel_version_lt("6.1")
    ]));
}

#[test]
fn operators_read_as_in_go() {
    use Operator::{Eq, Ge, Gt, Le, Lt, Ne};
    let shown = [Eq, Ge, Gt, Le, Lt, Ne].map(|op| op.to_string());
    assert_eq!(shown, ["==", ">=", ">", "<=", "<", "!="]);
}

#[test]
fn what_cannot_be_told_panics_and_says_so() {
    let hidden = MadeUp {
        uid: 0,
        release: None,
    };
    let check =
        |needs: &[crate::Constraint]| TestConstraint::new(false).not_valid_on(&hidden, needs);
    // A fact that no constraint uses is harmless.
    assert!(!check(&[need_root()]));
    let text = text_of(|| {
        check(&[
            need_root(),
            need_kernel_version_ge("6.1"),
            with_issue("x/1"),
        ]);
    });
    assert_eq!(
        text,
        "cannot tell whether these hold: need kernel version >= \"6.1\", got none: it is hidden \
         (issue x/1)"
    );
    // One failing constraint decides.
    assert!(check(&[need_kernel_version_ge("6.1"), need_non_root()]));
}

#[test]
fn mistakes_panic_where_they_are_made() {
    assert_eq!(
        text_of(|| assert!(TestConstraint::new(false).not_valid(&[]))),
        "need at least one constraint"
    );
    assert!(
        text_of(|| drop(need_kernel_version_lt("version")))
            .starts_with("\"version\" is not a kernel version: ")
    );
    assert_eq!(
        text_of(|| drop(need_uid(0, Operator::Lt))),
        "a uid is compared by == or !=, not by <"
    );
}
