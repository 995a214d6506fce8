//! Versions of kernels in the wild, and the laws that hold for any.
//!
//! Scope: comparing. Reading the running version is the business of `facts`.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::compare;
use crate::constraint::kernel::{Operator, Release, Requirement};

fn ordering(running: &str, required: &str) -> Option<Ordering> {
    let required = leak(required);
    compare(
        &Release::parse(running)?,
        &Requirement::parse(required).expect("a requirement"),
    )
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

const VECTORS: [(&str, &str, Option<Ordering>); 45] = {
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
        ("5.15.0-1057-aws", "5.15.0-1060-azure", None),
        ("5.14.0-427", "5.14.0-427.13.1", LESS),
        ("5.14.0-427.13.1.el9", "5.14.0-427.el9", GREATER),
        ("6.8.0-rc3", "6.8.0-rc3", EQUAL),
        ("6.8.5-rc1", "6.8-rc4", GREATER),
        ("5", "5.0", None),
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
            Requirement::parse(leak(text)).is_err(),
            "{text:?} was accepted"
        );
    }
}

/// Releases of the shapes that vendors build, and a fair share of nonsense.
fn releases() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{1,2}\\.[0-9]{1,2}(\\.[0-9]{1,3}){0,2}(-(rc[0-9]|[0-9]{1,4}|[a-z]{2,5}|el[89]_1)){0,3}\\+?",
        1 => any::<String>(),
    ]
}

fn requirements() -> impl Strategy<Value = String> {
    "(0|[1-9][0-9]?)(\\.(0|[1-9][0-9]?)){0,3}(-(rc[1-9]|[0-9]{1,4}(-[a-z]{2,5})?|fc-v[0-9]))?"
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let text = leak(&text);
        let _ = Requirement::parse(text);
        let _ = Release::parse(text);
    }

    /// The operators agree with each other: exactly one of less, equal, greater, undetermined.
    #[test]
    fn exactly_one_holds(running in releases(), required in requirements()) {
        if let Some(ordering) = ordering(&running, &required) {
            let holds = |operator: Operator| operator.holds(ordering);
            let count = [Operator::Lt, Operator::Eq, Operator::Gt].map(holds);
            prop_assert_eq!(count.iter().filter(|held| **held).count(), 1);
            prop_assert_eq!(holds(Operator::Le), !holds(Operator::Gt));
            prop_assert_eq!(holds(Operator::Ge), !holds(Operator::Lt));
            prop_assert_eq!(holds(Operator::Ne), !holds(Operator::Eq));
        }
    }

    /// A newer plain kernel never compares as older.
    #[test]
    fn monotone_in_the_running_version(
        a in any::<(u8, u8, u8)>(), b in any::<(u8, u8, u8)>(), required in requirements(),
    ) {
        let (older, newer) = if a <= b { (a, b) } else { (b, a) };
        let text = |(x, y, z): (u8, u8, u8)| format!("{x}.{y}.{z}");
        if let (Some(older), Some(newer)) =
            (ordering(&text(older), &required), ordering(&text(newer), &required))
        {
            prop_assert!(older <= newer);
        }
    }
}
