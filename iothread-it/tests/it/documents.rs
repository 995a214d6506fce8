//! `CASES.md` lists the purpose of each case.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, ensure};
use guest_vm::qemu::Topology;
use kata_test::kata_test;

use crate::regressions::{self, mark::Mark};

const CASES: &str = include_str!("../../CASES.md");

#[kata_test]
fn every_case_is_in_the_table_and_every_name_in_it_is_a_case() -> Result<()> {
    let (existing, documented) = (cases()?, names());
    let undocumented: Vec<_> = existing.difference(&documented).collect();
    ensure!(undocumented.is_empty(), "CASES.md lacks {undocumented:#?}");
    let unknown: Vec<_> = documented.difference(&existing).collect();
    ensure!(
        unknown.is_empty(),
        "CASES.md has {unknown:#?}, which are no cases"
    );
    Ok(())
}

#[kata_test]
fn the_table_s_marks_are_those_of_the_cases() -> Result<()> {
    for (case, mark) in regressions::all() {
        let row = CASES
            .lines()
            .find(|line| line.contains(&format!("::{case}`")));
        let row = row.unwrap_or_default();
        let wanted = match mark {
            Mark::Reproduced => "| reproduced".to_owned(),
            Mark::Race => "| race".to_owned(),
            Mark::Guard { tried } => format!("| guard: red {tried}"),
        };
        ensure!(
            row.contains(&wanted),
            "{case} is `{wanted}`, and its row is: {row}"
        );
    }
    Ok(())
}

/// The suite's cases, on all machine types.
fn cases() -> Result<BTreeSet<String>> {
    let listed = Command::new(std::env::current_exe()?)
        .args(["--list", "--format=terse"])
        .output()?;
    ensure!(listed.status.success(), "the suite does not list its cases");
    let listed = String::from_utf8(listed.stdout)?;
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(on_whatever).collect())
}

/// Leaves out of a name what the case runs on.
fn on_whatever(name: &str) -> String {
    let is_topology = |part: &&str| part.replace('_', "-").parse::<Topology>().is_ok();
    let parts: Vec<_> = name.split("::").filter(|part| !is_topology(part)).collect();
    parts.join("::")
}

/// What the document says in code spans, if it looks like a case.
fn names() -> BTreeSet<String> {
    let spans = CASES.split('`').skip(1).step_by(2);
    spans
        .filter(|span| span.contains("::") && !span.contains(' '))
        .map(str::to_owned)
        .collect()
}
