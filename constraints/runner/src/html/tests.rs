//! Scope: the page as text. That a browser shows it is in `tests/browser/`.

use proptest::prelude::*;

use super::of;
use crate::ledger::Ledger;
use crate::report::Report;
use crate::run_info::RunInfo;
use crate::{Artifacts, Outcome, Phase, Reason, Record};

const KINDS: [Outcome; 13] = super::icon::ALL;

/// A report in which one text stands wherever a text of somebody else's can.
fn report(text: &str) -> Report {
    let records: Vec<Record> = KINDS.iter().map(|kind| outcome(text, *kind)).collect();
    let about = RunInfo {
        started: 1,
        machine: text.to_owned(),
        host: text.to_owned(),
        with: text.to_owned(),
        places: [(text.to_owned(), text.to_owned())].into(),
        kernels: [(text.to_owned(), text.to_owned())].into(),
        everywhere: true,
    };
    let runs = vec![about];
    Report {
        ledger: Ledger::of(records, &runs),
        runs,
    }
}

fn outcome(text: &str, kind: Outcome) -> Record {
    Record {
        schema: 1,
        run: text.to_owned(),
        binary: text.to_owned(),
        test: format!("{text}::{kind}"),
        place: text.to_owned(),
        phase: Phase::Run,
        attempt: 2,
        as_uid: 0,
        outcome: kind,
        reasons: vec![Reason::constraint(text, text, text)],
        issue: Some(text.to_owned()),
        reason: Some(text.to_owned()),
        signal: Some(text.to_owned()),
        duration_ms: 1.0,
        measures: [("attach_ms".to_owned(), 12.5), (text.to_owned(), 1.0)].into(),
        suspect: Some(text.to_owned()),
        output: Some(text.to_owned()),
        kernel_messages: vec![text.to_owned()],
        artifacts: Some(Artifacts {
            folder: format!("a/{text}").replace(['.', '\0'], "x"),
            files: 1,
            bytes: 1,
            left_out: vec![text.to_owned()],
        }),
    }
}

/// What makes the page's structure: everything else is text.
fn structure(page: &str) -> (usize, usize, usize) {
    let count = |c: char| page.matches(c).count();
    (count('<'), count('>'), count('"'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No text adds a tag, ends one, or leaves its attribute.
    #[test]
    fn no_text_changes_the_page(text in "[a-z</>\"'&=!\\-\\[\\] \\n\u{0}-\u{1f}]{1,12}|</script>.{0,8}|\\PC{1,12}") {
        // What a machine and its place, a module and its test are told apart by.
        let is_mark = |c: &char| matches!(c, '/' | ':' | ' ');
        let harmless: String = text.chars().map(|c| if is_mark(&c) { c } else { 'x' }).collect();
        let (plain, hostile) = (of(&report(&harmless)), of(&report(&text)));
        prop_assert_eq!(structure(&hostile), structure(&plain));
    }
}

#[test]
fn only_an_address_becomes_a_link() {
    let page = of(&report("javascript:alert(1)"));
    assert!(!page.contains("href=\"javascript"));
    let page = of(&report("https://example.com/?a=1&b=<2>"));
    assert!(page.contains("href=\"https://example.com/?a=1&amp;b=&lt;2&gt;\""));
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let page = of(&report("plain"));
    for asking in [
        "src=",
        "@import",
        "url(",
        "<link",
        "fetch(",
        "http-equiv=\"refresh",
    ] {
        assert!(!page.contains(asking), "{asking}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_outcome_has_a_sign_of_its_own() {
    let signs: std::collections::BTreeSet<String> = KINDS
        .iter()
        .map(|kind| super::icon::of(*kind).into_string())
        .collect();
    assert_eq!(signs.len(), KINDS.len());
    let page = of(&report("plain"));
    for kind in KINDS {
        assert!(page.contains(&format!("aria-label=\"{kind}\"")), "{kind}");
    }
}

/// Two thousand tests in six places are a page that a browser opens at once.
#[test]
fn many_tests_make_no_huge_page() {
    let places = ["here", "root", "vm:a", "vm:b", "vm:c", "vm:d"];
    let records = (0..12_000).map(|index| Record {
        place: places[index % 6].to_owned(),
        reasons: Vec::new(),
        ..outcome(&format!("t{}", index / 6), Outcome::Passed)
    });
    let report = Report {
        ledger: Ledger::of(records.collect(), &[]),
        runs: Vec::new(),
    };
    assert_eq!(report.ledger.tests.len(), 2000);
    let page = of(&report);
    assert!(page.len() < 12_000_000, "{} bytes", page.len());
}
