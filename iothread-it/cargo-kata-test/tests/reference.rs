//! The reference pages of the book that are made from the code: constraints, and environment variables.

use std::fs;
use std::path::Path;

use kata_test::constraint::TABLE;

/// Compares a page with the repository's, or writes it.
fn check(page: &str, text: &str) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints/docs");
    let path = docs.join(page);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&path, text).unwrap();
    }
    let is_current = fs::read_to_string(path).is_ok_and(|found| found == text);
    assert!(
        is_current,
        "constraints/docs/{page} is old; INSTA_UPDATE=always writes it"
    );
}

/// Links of rustdoc as code, and paragraphs without the space that begins each line.
fn markdown(doc: &str) -> String {
    let lines = doc
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replace("[`", "`").replace("`]", "`").trim().to_owned()
}

#[test]
fn constraints() {
    let mut page = "# Constraints\n\nWhat a test can require, in the attribute and in the configuration. \
         `all(…)`, `any(…)` and `not(…)` combine them. `cargo kata-test facts 'root, kvm'` shows what this machine \
         says of them.\n"
        .to_owned();
    for entry in TABLE {
        page += &format!(
            "\n## {}\n\n```text\n#[kata_test({})]\n```\n\n{}\n",
            entry.name,
            entry.example,
            markdown(entry.doc)
        );
    }
    check("constraints.md", &page);
}

/// Those of the harness are a table of kata-test's documentation, those of VMs one of this package's.
#[test]
fn environment() {
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../../constraints/src/lib.rs");
    let library = fs::read_to_string(library).unwrap();
    let rows = library
        .lines()
        .filter(|line| line.starts_with("//! | `KATA_TEST_"));
    let rows: Vec<_> = rows.filter_map(|row| row.strip_prefix("//! ")).collect();
    assert!(rows.len() > 8, "{rows:?}");
    let page = format!(
        "# Environment variables\n\n`cargo kata-test facts --doctor` shows which are set.\n\n## Of tests\n\n\
         | variable | effect |\n|---|---|\n{}\n\n## Of VMs\n\n\
         | variable | effect |\n|---|---|\n\
         | `KATA_TEST_CACHE=DIR` | The folder of the [cache](cache.md). |\n\
         | `KATA_TEST_CACHE_MAX=SIZE` | Its maximum size: `10GB`. |\n\
         | `KATA_TEST_ARCHIVE=URL` | The archive of packages, instead of that of the host's apt. |\n\
         | `KATA_TEST_ARCHIVE_SUITES='A B'` | Its suites, the preferred one first. |\n\
         | `KATA_TEST_ARCHIVE_KEYRING=FILE` | Its keyring. |\n\n## Set by the runner\n\n\
         | variable | value |\n|---|---|\n\
         | `KATA_TEST_PLACE` | The name of the place. |\n\
         | `KATA_TEST_ARTIFACTS` | The [folder for files](files.md) of the test. |\n\
         | `KATA_TEST_TIME_SCALE` | A factor for time limits. |\n\
         | `KATA_TEST_SCRATCH_DISK` | The device node of an empty disk of 64 MiB, in a VM. |\n",
        markdown(&rows.join("\n"))
    );
    check("environment.md", &page);
}
