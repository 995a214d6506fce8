//! A workspace whose tests differ from kernel to kernel, with `--everywhere`.

use std::fs;

use anyhow::{Result, ensure};
use kata_test::facts::{Finding, Here, Host, Question};
use kata_test::kata_test;
use kata_test_runner::Record;
use serde_json::Value;

use crate::commands::{in_package, outcomes, target};
use crate::scratch_package::scratch_package;

const FILES: [(&str, &str); 2] = [
    (
        "tests/annotated.rs",
        r#"
use kata_test::kata_test;
#[kata_test] fn anywhere() {}
#[kata_test(kernel_lt = "6.5")] fn needs_an_old_kernel() {}
#[kata_test(kernel_ge = "99.0")] fn needs_another_kernel() {}
#[kata_test] fn fails_on_6_1() { assert!(!kata_test_release().starts_with("6.1.")); }
fn kata_test_release() -> String { std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap() }
kata_test::main!();
"#,
    ),
    (
        "tests/plain.rs",
        r#"
fn release() -> String { std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap() }
#[test] fn anywhere() {}
#[test] fn passes_on_6_12_only() { assert!(release().starts_with("6.12."), "{}", release()); }
"#,
    ),
];

/// Returns this host's kernel.
fn release() -> String {
    match &Here.ask(Question::KernelRelease).finding {
        Finding::Is(release) => release.clone(),
        other => panic!("no kernel release: {other:?}"),
    }
}

fn of<'a>(outcomes: &'a [Record], test: &str) -> Vec<(&'a str, String)> {
    let of_test = outcomes.iter().filter(|one| one.test == test);
    of_test
        .map(|one| (one.place.as_str(), one.outcome.to_string()))
        .collect()
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn every_test_runs_on_every_kernel_and_differences_come_first() -> Result<()> {
    let folder = scratch_package(&FILES)?;
    let command = |name: &str, more: &[&str]| -> Result<_> {
        let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), folder.path())?;
        let places = ["--everywhere", "--places", "here,vm:bookworm,vm:trixie"];
        command
            .env_remove("LD_LIBRARY_PATH")
            .args(["kata-test", name])
            .args(places)
            .args(more);
        let output = command.output()?;
        println!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    };

    let planned = command("plan", &["--json"])?;
    ensure!(planned.status.success(), "{}", planned.status);
    let plan: Value = serde_json::from_slice(&planned.stdout)?;
    let tests = plan["tests"].as_array().expect("tests");
    assert_eq!((&plan["schema"], tests.len()), (&Value::from(1), 6));
    let old = tests
        .iter()
        .find(|test| test["test"] == "needs_an_old_kernel");
    let old = old.expect("a test")["places"].as_array().expect("places");
    let in_vms: Vec<_> = old[1..]
        .iter()
        .map(|cell| {
            (
                cell["place"].as_str(),
                cell["verdict"].as_str(),
                cell["chosen"].as_bool(),
            )
        })
        .collect();
    assert_eq!(
        in_vms,
        [
            (Some("vm:bookworm"), Some("met"), Some(true)),
            (Some("vm:trixie"), Some("unmet"), Some(false)),
        ]
    );

    let ran = command("test", &[])?;
    assert_eq!(ran.status.code(), Some(1), "a test fails in a place");
    let outcomes = outcomes()?;
    let here = |passes: bool| ("here", if passes { "passed" } else { "failed" }.to_owned());
    let cell = |place, outcome: &str| (place, outcome.to_owned());
    let (is_6_1, is_6_12) = (
        release().starts_with("6.1."),
        release().starts_with("6.12."),
    );
    assert_eq!(
        of(&outcomes, "passes_on_6_12_only"),
        [
            here(is_6_12),
            cell("vm:bookworm", "failed"),
            cell("vm:trixie", "passed")
        ]
    );
    assert_eq!(
        of(&outcomes, "fails_on_6_1"),
        [
            here(!is_6_1),
            cell("vm:bookworm", "failed"),
            cell("vm:trixie", "passed")
        ]
    );
    assert_eq!(
        of(&outcomes, "anywhere").len(),
        6,
        "two tests in three places"
    );
    let old = of(&outcomes, "needs_an_old_kernel");
    assert_eq!(
        old[1..],
        [cell("vm:bookworm", "passed"), cell("vm:trixie", "skipped")]
    );
    assert_eq!(
        of(&outcomes, "needs_another_kernel"),
        [cell("nowhere", "nowhere")]
    );

    let screen = String::from_utf8_lossy(&ran.stdout);
    let (_, table) = screen
        .split_once("differences between places:")
        .expect("a table");
    let heads = ["here", "vm:bookworm", "vm:trixie", "6.1.", "6.12."];
    assert!(heads.iter().all(|head| table.contains(head)), "{table}");
    if !is_6_1 {
        assert!(table.contains("fails on vm:bookworm only"), "{table}");
    }
    if !is_6_12 {
        assert!(table.contains("passes on vm:trixie only"), "{table}");
    }
    let page = fs::read_to_string(target()?.join("kata-test/latest/summary.md"))?;
    let differs = page
        .find("## Outcomes that differ between places")
        .expect("a section");
    assert!(
        differs < page.find("## failed").expect("a section"),
        "{page}"
    );
    Ok(())
}
