//! Versions of kernels in the wild, and the laws that hold for any.
//!
//! Scope: comparing. Reading the running version is the business of `facts`.

use std::borrow::Cow;
use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Release, Version};
use crate::constraint::{
    Status, evaluate, kernel_eq, kernel_ge, kernel_gt, kernel_le, kernel_lt, kernel_ne,
};
use crate::facts::{Answer, Finding, Host, Question};

fn ordering(running: &str, required: &str) -> Option<Ordering> {
    let required = leak(required);
    Release::parse(running)?.compare(&Version::kernel(required).expect("a version"))
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

const VECTORS: [(&str, &str, Option<Ordering>); 50] = {
    const LESS: Option<Ordering> = Some(Ordering::Less);
    const EQUAL: Option<Ordering> = Some(Ordering::Equal);
    const GREATER: Option<Ordering> = Some(Ordering::Greater);
    [
        ("6.1.0-18-amd64", "6.1.0", EQUAL),
        ("6.1.0-18-amd64", "6.1", EQUAL),
        ("6.1.55", "6.1", EQUAL),
        ("6.1.0-18-amd64", "6.1.1", LESS),
        ("6.1.0-18-amd64", "6.1.0-18-amd64", EQUAL),
        ("5.15.0-1057-aws", "5.15.0", EQUAL),
        ("5.15.0-1057-aws", "5.15.0-1060", LESS),
        ("4.18.0-553.el8_10", "4.18.0", EQUAL),
        ("4.18.0-553.el8_10", "5.0.10", LESS),
        ("5.14.0-427.el9.x86_64", "5.14.0-427.13.1", LESS),
        ("6.18.44-fc-v657", "6.18.44", EQUAL),
        ("6.18.44-fc-v657", "6.18.45", LESS),
        ("6.18.44-fc-v657", "6.18.44-18", None),
        ("5.10.16.3-microsoft-standard-WSL2", "5.10.16", EQUAL),
        ("5.10.16.3-microsoft-standard-WSL2", "5.10.16.4", LESS),
        ("6.8.0-rc3+", "6.8.0", EQUAL),
        ("6.8.0-rc3+", "6.8", EQUAL),
        ("6.8.0-rc3+", "6.8.0-rc3+", EQUAL),
        ("6.8.0-rc3", "6.8.0-rc3+", EQUAL),
        ("6.8.0-rc4", "6.8.0-rc3+", GREATER),
        ("6.8.0-rc3+", "6.8-rc4", LESS),
        ("6.8.0", "6.8-rc4", GREATER),
        ("5.0.10-rc1", "5.0.10", EQUAL),
        ("3.10.0-1160.el7.x86_64", "3.10.0-957", GREATER),
        ("4.12.14-lp150.12.25-default", "4.12.14", EQUAL),
        ("5.0.9-200.fc29.x86_64", "5.0.10", LESS),
        ("5.10.0", "5.9", GREATER),
        ("4.9.337", "4.10", LESS),
        ("5.0+", "5.0", EQUAL),
        ("4.4.302+", "4.4.302", EQUAL),
        ("3.12-1-amd64", "3.12", EQUAL),
        ("3.12.8tag", "3.12.8", EQUAL),
        ("5.4.0-00123", "5.4.0", EQUAL),
        ("garbage", "5.0", None),
        // Beyond the collection: what the suffix rules leave open there.
        ("6.1.0-18-amd64", "6.1.0-18", EQUAL),
        ("6.1.0-18", "6.1.0-18-amd64", None),
        ("6.1.0", "6.1.0-18", None),
        ("6.1.0-18", "6.1.0-18-1", LESS),
        ("5.15.0-1057-aws", "5.15.0-1060-azure", None),
        ("5.14.0-427", "5.14.0-427.13.1", LESS),
        ("5.14.0-427.fc9", "5.14.0-427.el9", None),
        ("5.14.0-427.13.1.el9", "5.14.0-427.el9", GREATER),
        ("6.8.0-rc3", "6.8.0-rc3", EQUAL),
        ("6.8.5-rc1", "6.8-rc4", GREATER),
        ("5", "5.0", None),
        ("5.x", "5", None),
        ("6.1.5-18-amd64", "6.1-18", GREATER),
        ("6.1.0-18-amd64", "6.1-18", EQUAL),
        ("99999999999999999999.1", "5.0", None),
        ("7.0.1", "6", GREATER),
    ]
};

#[test]
fn vectors() {
    for (running, required, expected) in VECTORS {
        assert_eq!(
            ordering(running, required),
            expected,
            "{running} against {required}"
        );
    }
}

#[test]
fn malformed_requirements_are_refused() {
    for text in [
        "",
        " 6.1",
        "6.1 ",
        "six",
        "6.",
        "6..1",
        ".6",
        "6.1.",
        "06.1",
        "6.01",
        "v6.1",
        "6.1x",
        "6.1-",
        "6.8-rc4-foo",
        "6.8-rc4++",
        "6.1.0-18 amd64",
        "6.1.0.x",
        "99999999999999999999.1",
        "6.1.0-ä",
    ] {
        assert!(
            Version::kernel(leak(text)).is_err(),
            "{text:?} was accepted"
        );
    }
}

#[test]
fn a_candidate_is_told_from_other_suffixes() {
    let candidate = |text| Version::kernel(leak(text)).expect(text).candidate;
    for text in ["6.8-rc4", "6.8.0-rc4", "6.8-rc4+"] {
        assert_eq!(candidate(text), Some(4), "{text}");
    }
    for text in [
        "6.8", "6.8-4", "6.8-rc", "6.8-rt4", "6.8-fc4", "6.8-rcx", "6.8-src4",
    ] {
        assert_eq!(candidate(text), None, "{text}");
    }
    for text in [
        "6.8-rc04",
        "6.8-rc4-",
        "6.8-rc4x",
        "6.8-rc4+x",
        "6.8-a b",
        "6.8.0.01",
    ] {
        assert!(Version::kernel(leak(text)).is_err(), "{text}");
    }
}

fn requirements() -> impl Strategy<Value = String> {
    prop_oneof![
        "(0|[1-9][0-9]?)(\\.(0|[1-9][0-9]?)){0,3}(-(rc[1-9]|[0-9]{1,4}(-[a-z]{2,5})?|fc-v[0-9]))?",
        // Near the versions that are compared with it.
        "[0-2]\\.[0-2](\\.[0-2](-(rc[1-5]|[1-2]?[0-9](-amd64)?))?)?",
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let text = leak(&text);
        let _ = Version::kernel(text);
        let _ = Release::parse(text);
    }

    /// Of plain versions the numbers decide, as far as the requirement states them.
    #[test]
    fn every_operator_holds_as_the_numbers_say(
        running in prop::array::uniform3(0..4_u8), required in prop::collection::vec(0..4_u8, 1..=3),
    ) {
        let host = Running(dotted(&running));
        let version = leak(&dotted(&required));
        let numbers = running[..required.len()].cmp(&required);
        for (constraint, expected) in [
            (kernel_lt(version), numbers.is_lt()),
            (kernel_le(version), numbers.is_le()),
            (kernel_eq(version), numbers.is_eq()),
            (kernel_ne(version), numbers.is_ne()),
            (kernel_ge(version), numbers.is_ge()),
            (kernel_gt(version), numbers.is_gt()),
        ] {
            let expected = if expected { Status::Met } else { Status::Unmet };
            prop_assert_eq!(evaluate(&[constraint], &host).status, expected, "{}", constraint);
        }
    }

    /// A newer kernel of one series never compares as older: neither a later candidate, nor the
    /// release after its candidates, nor a later build of the release.
    #[test]
    fn monotone_in_the_running_version(
        a in versions(), b in versions(), has_builds: bool, required in requirements(),
    ) {
        let (older, newer) = if a <= b { (a, b) } else { (b, a) };
        let text = |(base, candidate, build): ([u8; 3], u8, u8)| match (candidate, has_builds) {
            (RELEASED, true) => format!("{}-{build}-amd64", dotted(&base)),
            (RELEASED, false) => dotted(&base),
            (candidate, _) => format!("{}-rc{candidate}", dotted(&base)),
        };
        if let (Some(older), Some(newer)) =
            (ordering(&text(older), &required), ordering(&text(newer), &required))
        {
            prop_assert!(older <= newer);
        }
    }
}

/// In the place of a candidate's number.
const RELEASED: u8 = 9;

/// The components, the candidate's number, and that of a vendor's build.
fn versions() -> impl Strategy<Value = ([u8; 3], u8, u8)> {
    let candidate = prop_oneof![1..5_u8, Just(RELEASED)];
    (prop::array::uniform3(0..3_u8), candidate, 1..30_u8)
}

fn dotted(numbers: &[u8]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
    numbers.join(".")
}

/// A host with a kernel of this release, and nothing else.
struct Running(String);

impl Host for Running {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Owned(match question {
            Question::KernelRelease => Answer::new(Finding::Is(self.0.clone()), "uname"),
            _ => Answer::new(Finding::Unknown("not recorded".into()), "a made-up host"),
        })
    }
}
