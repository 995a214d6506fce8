//! The reference pages of the book that are made from the code: constraints, environment variables, exit codes and
//! records. Names in the configuration of this workspace are checked too.

#[path = "reference/blocks.rs"]
mod blocks;
#[path = "reference/ci_listings.rs"]
mod ci_listings;
#[expect(dead_code, reason = "the target `places` uses the rest")]
#[path = "pages/mod.rs"]
mod pages;
#[path = "reference/records.rs"]
mod records;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use cargo_kata_test::cli::exit_codes;
use guest_vm::process::BoundedCommand;
use kata_test::__runner::ExitCodeMeaning;
use kata_test::constraint::TABLE;
use kata_test_runner::Config;

/// Runs a command, and returns its exit status, its output and the last lines of its errors.
#[track_caller]
fn run(what: &str, command: Command, deadline: Duration) -> (ExitStatus, String, String) {
    let mut text = String::new();
    let bounded = BoundedCommand {
        what,
        command,
        deadline,
        input: &[],
    };
    let ended = bounded.finish(|line| text.extend([line, "\n"])).unwrap();
    (ended.status, text, ended.stderr.join("\n"))
}

/// Runs `cargo kata-test` with arguments.
#[track_caller]
fn kata_test(arguments: &[&str]) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
    command.arg("kata-test").args(arguments);
    let what = format!("cargo kata-test {}", arguments.join(" "));
    let (status, text, _) = run(&what, command, Duration::from_secs(60));
    (status, text)
}

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

fn table(codes: &[ExitCodeMeaning]) -> String {
    let mut table = "| code | name | meaning | what to do |\n|---|---|---|---|\n".to_owned();
    for one in codes {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            one.code, one.name, one.meaning, one.step
        );
    }
    table
}

#[test]
fn exit_codes() {
    let page = format!(
        "# Exit codes\n\n## cargo kata-test\n\n{}\n\
         ## cargo xtask\n\n\
         The commands of this repository have the same codes; those that `cargo kata-test` has too are the same \
         commands.\n\n\
         | command | success, 0 | failure, 1 |\n|---|---|---|\n\
         | `it` | each case that was selected passed or was skipped, and one passed | another outcome, or no case |\n\
         | `ci` | all checks passed | a check failed; the code is that of its command if that has one |\n\
         | `fuzz` | no input failed | one did; its file is named |\n\
         | `bench`, `advise` | it is measured, whatever the figures are | it cannot be measured |\n\
         | `who`, `book`, `picture` | it is printed, built or drawn | it cannot be |\n\n\
         ## A test binary with `kata_test::main!()`\n\n{}\n\
         A binary with Rust's own harness ends with 0 or 101.\n",
        table(exit_codes::EXIT_CODES),
        table(kata_test::__runner::EXIT_CODES)
    );
    check("exit-codes.md", &page);
}

/// Those that need no build: `messages.rs` has the others.
#[test]
fn commands_end_with_codes_of_the_table() {
    let code = |arguments: &[&str]| {
        let (status, _) = kata_test(arguments);
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let named = exit_codes::EXIT_CODES
            .iter()
            .find(|one| Some(one.code) == code);
        named.map(|one| one.name)
    };
    assert_eq!(code(&["facts"]), Some("success"));
    assert_eq!(code(&["facts", "not(os = \"linux\")"]), Some("failure"));
    assert_eq!(code(&["facts", "--no-such"]), Some("invalid arguments"));
    assert_eq!(code(&["run", "--", "/no/such/program"]), Some("not run"));
}

/// A module that has another name would run by default, though it takes long.
#[test]
fn modules_of_the_default_filter_exist() {
    let config = Config::load(&pages::root()).unwrap();
    let filter = config.default_filter.unwrap().to_string();
    let mut lists = filter.split("test(/^(").skip(1);
    for target in [
        "constraints/tests/real",
        "iothread-it/cargo-kata-test/tests/places",
    ] {
        let names = lists.next().unwrap().split_once(")::/").unwrap().0;
        let main = fs::read_to_string(pages::root().join(target).join("main.rs")).unwrap();
        for name in names.split('|') {
            let declaration = format!("mod {name};");
            assert!(
                main.lines().any(|line| line == declaration),
                "{target}/main.rs has no module `{name}`, which the default filter in .config/kata-test.toml names"
            );
        }
    }
    assert_eq!(lists.next(), None);
}
