//! Upstream's tables, by family, over made-up hosts.
//!
//! Scope: every row of upstream's six tables of versions and uids stands here, taken from its tests;
//! what is derived says so. Left out is what tests Go's own plumbing (reading a file, setting
//! fields of a struct).

mod fractions;
mod hosts;
mod integers;
mod report;
mod semantic;
mod version_type;

use std::borrow::Cow;
use std::panic::catch_unwind;

use super::{Operator, TestConstraint, need_kernel_version_with_op};
use kata_test::facts::{Answer, Finding, Host, Question};

/// What Go's package says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    Yes,
    No,
    /// A panic, here as there.
    Error,
}

/// A host of which the uid and the kernel are known.
#[derive(Clone)]
struct MadeUp {
    uid: u32,
    release: Option<String>,
}

impl MadeUp {
    fn running(release: &str) -> Self {
        Self {
            uid: 1000,
            release: Some(release.to_owned()),
        }
    }
}

impl Host for MadeUp {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        let finding = match question {
            Question::EffectiveUid => Finding::Is(self.uid.to_string()),
            Question::KernelRelease => match &self.release {
                Some(release) => Finding::Is(release.clone()),
                None => Finding::Unknown("it is hidden".to_owned()),
            },
            _ => unreachable!("this API asks for nothing else"),
        };
        Cow::Owned(Answer::new(finding, "a made-up host"))
    }
}

/// What this package says of a running kernel.
fn says(release: &str, op: Operator, wanted: &str) -> Go {
    let host = MadeUp::running(release);
    let checked = catch_unwind(|| {
        let wanted = need_kernel_version_with_op(wanted, op);
        TestConstraint::new(false).not_valid_on(&host, &[wanted])
    });
    match checked {
        Ok(false) => Go::Yes,
        Ok(true) => Go::No,
        Err(_) => Go::Error,
    }
}

/// Goes through a table and returns how many rows are errors, and how many have a running side of
/// one number: no kernel has that, so here it is undetermined, and Go's answer holds for `N.0`.
fn go_through(table: &[(&str, Operator, &str, Go)]) -> (usize, usize) {
    let mut errors = 0;
    let mut of_one_number = 0;
    for &(actual, op, wanted, go) in table {
        if go == Go::Error {
            errors += 1;
        }
        if go != Go::Error && actual.parse::<u64>().is_ok() {
            of_one_number += 1;
            assert_eq!(
                says(actual, op, wanted),
                Go::Error,
                "{actual} {op} {wanted}"
            );
            let completed = format!("{actual}.0");
            assert_eq!(
                says(&completed, op, wanted),
                go,
                "{completed} {op} {wanted}"
            );
        } else {
            assert_eq!(says(actual, op, wanted), go, "{actual:?} {op} {wanted:?}");
        }
    }
    (errors, of_one_number)
}

#[test]
fn the_type_of_a_version() {
    assert_eq!(go_through(&version_type::VERSION_TYPE), (30, 18));
}

#[test]
fn versions_of_one_number() {
    assert_eq!(go_through(&integers::INTEGERS), (32, 17));
}

#[test]
fn versions_of_two_numbers() {
    assert_eq!(go_through(&fractions::FRACTIONS), (20, 17));
}

#[test]
fn versions_of_three_numbers() {
    assert_eq!(go_through(&semantic::SEMANTIC), (20, 0));
}
