//! Rows that upstream makes from the host it runs on: here over made-up hosts and over this one.

use std::panic::catch_unwind;

use super::Go::{self, Error, No, Yes};
use super::{MadeUp, says};
use crate::Operator::{self, Eq, Ge, Gt, Le, Lt, Ne};
use crate::{TestConstraint, need_kernel_version_with_op, need_uid};
use kata_test::facts::{Finding, Here, Host, Question};

const OPERATORS: [Operator; 6] = [Eq, Ge, Gt, Le, Lt, Ne];

/// Releases as distributions have them; upstream's rows come from the one it happens to run on.
const RELEASES: [&str; 7] = [
    "6.1.0-18-amd64",
    "5.4.0-150-generic",
    "4.12.14-lp150.12.25-default",
    "5.14.0-427.el9.x86_64",
    "5.15.90.1-microsoft-standard-WSL2",
    "6.8.0-rc3+",
    "6.18.44-fc-v657",
];

fn this_kernel() -> String {
    match &Here.ask(Question::KernelRelease).finding {
        Finding::Is(release) => release.clone(),
        other => panic!("{other:?}"),
    }
}

/// A release with one of its first three numbers raised.
fn raised(release: &str, index: usize) -> String {
    let base_end = release.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (base, rest) = release.split_at(base_end.unwrap_or(release.len()));
    let mut numbers: Vec<u64> = base
        .split('.')
        .map(|n| n.parse().expect("a number"))
        .collect();
    numbers[index] += 1;
    // As Go's library does it, what stands below a raised number becomes 0.
    numbers[index + 1..].fill(0);
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(".") + rest
}

/// Upstream's 26 rows for each release: blanks, the release itself, and newer ones. That the release
/// is also `>=` and `<=` itself and neither `<` nor `>` is derived. As upstream's tests do, the `+`
/// of a release is left out of what is wanted.
#[test]
fn a_kernel_against_itself_and_newer_ones() {
    let here = this_kernel();
    for release in RELEASES.into_iter().chain([here.as_str()]) {
        let mut rows = Vec::new();
        let plain = release.trim_end_matches('+');
        for op in OPERATORS {
            rows.push((op, String::new(), Error));
            let itself = matches!(op, Eq | Ge | Le);
            rows.push((op, plain.to_owned(), if itself { Yes } else { No }));
            let newer = matches!(op, Lt | Le | Ne);
            for index in 0..3 {
                let wanted = raised(plain, index);
                rows.push((op, wanted, if newer { Yes } else { No }));
            }
        }
        assert_eq!(rows.len(), 26 + 4);
        for (op, wanted, expected) in rows {
            assert_eq!(
                says(release, op, &wanted),
                expected,
                "{release} {op} {wanted}"
            );
        }
    }
}

/// Upstream's twelve versions by six operators, on the kernel that runs this.
#[test]
fn old_and_far_off_versions() {
    let release = this_kernel();
    let (major, rest) = release.split_once('.').expect("a version");
    let major: u64 = major.parse().expect("a number");
    let (lower, higher) = (
        format!("{}.{rest}", major - 1),
        format!("{}.{rest}", major + 1),
    );
    let low = [
        "0.0.0",
        "0.0.1",
        "1.0.0",
        "1.0.6-1.1.0",
        "2.0.0",
        "2.6.0",
        &lower,
    ];
    let high = [&higher, "999.0.0", "999.0.999", "999.999.999", "1024.0.0"];
    let says = |op, wanted: &str| {
        let need = need_kernel_version_with_op(wanted, op);
        !TestConstraint::new(true).not_valid(&[need])
    };
    for op in OPERATORS {
        for wanted in low {
            assert_eq!(
                says(op, wanted),
                matches!(op, Gt | Ge | Ne),
                "{op} {wanted}"
            );
        }
        for wanted in high {
            assert_eq!(
                says(op, wanted),
                matches!(op, Lt | Le | Ne),
                "{op} {wanted}"
            );
        }
    }
}

/// Upstream's rows for uids. Its four rows with a negative uid and its two with operator 1234 cannot
/// be written here; the operators that it refuses and does not test are refused here too.
#[test]
fn uids() {
    let says = |uid, op, wanted| {
        let host = MadeUp { uid, release: None };
        let checked = catch_unwind(|| {
            TestConstraint::new(false).not_valid_on(&host, &[need_uid(wanted, op)])
        });
        match checked {
            Ok(false) => Yes,
            Ok(true) => No,
            Err(_) => Error,
        }
    };
    for (uid, root) in [(0, Yes), (1000, No)] {
        assert_eq!(says(uid, Eq, 0), root);
        assert_eq!(says(uid, Ne, 0) == Yes, root == No);
        assert_eq!(says(uid, Eq, uid), Yes);
        assert_eq!(says(uid, Ne, uid), No);
        for op in [Ge, Gt, Le, Lt] {
            assert_eq!(says(uid, op, uid), Error);
        }
    }
}

/// Where Go is wrong: the running kernel, what is wanted by `>=`, what Go's rule leads to, and what
/// is right. The reasons are in the module's documentation.
#[test]
fn where_go_is_wrong() {
    const ROWS: [(&str, &str, Go, Go); 15] = [
        // A suffix is no pre-release.
        ("4.12.14-lp150.12.25-default", "4.12.14", No, Yes),
        ("5.4.0-150-generic", "5.4.0", No, Yes),
        ("3.10.0-957.12.1.el7.x86_64", "3.10.0", No, Yes),
        ("6.8.0-rc3+", "6.8.0", No, Yes),
        // The requirement sets the precision.
        ("5.4.0-150-generic", "5", Error, Yes),
        ("5.4.0-150-generic", "5.4", Error, Yes),
        ("5.4.0-150-generic", "5.5", Error, No),
        // Requirements as uname(1) prints them.
        ("5.12.0-rc4+", "5.12.0-rc4", Yes, Yes),
        (
            "3.10.0-957.12.1.el7.x86_64",
            "3.10.0-957.12.1.el7.x86_64",
            Error,
            Yes,
        ),
        // Releases that semver refuses.
        ("5.15.90.1-microsoft-standard-WSL2", "5.15.90", Error, Yes),
        ("4.4.0+abc", "4.4.0", Error, Yes),
        ("5.10.0-007", "5.10.0", Error, Yes),
        // No fraction: 3.10 is newer than 3.9.
        ("3.10", "3.9", No, Yes),
        ("3.9", "3.10", Yes, No),
        // A blank is no constraint to Go.
        ("5.4.0-150-generic", "", Yes, Error),
    ];
    for (release, wanted, go, right) in ROWS {
        assert_eq!(says(release, Ge, wanted), right, "{release} >= {wanted:?}");
        let agree = release == "5.12.0-rc4+";
        assert_eq!(go == right, agree, "{release}: this row is no deviation");
    }
    // Go is right about these, which are the rest of the examples.
    for (release, wanted) in [
        ("4.12.14-lp150.12.25-default", "3.10.0"),
        ("5.12.0-rc4+", "5.4.0"),
        ("6.1.21-v8+", "5.4.0"),
        ("6.6.7-arch1-1", "5.4.0"),
    ] {
        assert_eq!(says(release, Ge, wanted), Yes, "{release} >= {wanted}");
    }
}
