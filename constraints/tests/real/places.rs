//! What a runner says to a binary about places.

use std::fs;

use crate::run::{Said, Sample};

/// Elsewhere an unmet test that was named is a skip, and not the failure that it is to a person: the
/// runner has other places to try.
#[test]
fn in_a_place_a_named_test_may_be_skipped_and_its_record_says_where() {
    let sample = Sample::build("sample");
    let args = ["--exact", "cases::needs::much"];
    assert_eq!(sample.run(&args).code, Some(101));
    let mut command = sample.command(&args);
    command.env("KATA_TEST_PLACE", "vm:far");
    assert_eq!(Said::by(command).code, Some(0));
    let recorded = sample.recorded();
    let last = recorded
        .lines()
        .find(|line| line.contains(r#""place":"vm:far""#));
    assert!(
        last.expect("a record").contains(r#""outcome":"skipped""#),
        "{recorded}"
    );
}

#[test]
fn a_test_that_is_left_to_another_place_does_not_run() {
    let sample = Sample::build("sample");
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list");
    let test = "cases::fails::by_panicking";
    fs::write(&list, format!("kata-test::sample\t{test}\tvm:far\n")).expect("a list");
    let mut command = sample.command(&["by_panicking"]);
    command.env("SAMPLE", "fail").env("KATA_TEST_LEAVE", &list);
    let said = Said::by(command);
    assert!(
        said.line(test).ends_with("... ignored, runs in vm:far"),
        "{said:?}"
    );
    let recorded = sample.recorded();
    assert!(
        !recorded.contains(&format!(r#""test":"{test}""#)),
        "its record comes from there: {recorded}"
    );
}
