//! The blocks of the README and the book that need no place: each is checked in some way, and those that are code, a
//! configuration or an output here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kata_test::constraint::parse;
use kata_test_runner::Config;

use crate::pages::{
    Block, Class, NOT_RUN, OWN_TESTS, OwnTest, RUNNER_README, blocks, class, is_followed, read,
    root,
};
use crate::run;

/// The pages of the book: those of `constraints/docs` by their names, others by their paths in the repository.
fn pages() -> Vec<String> {
    let summary = read("SUMMARY.md");
    let targets = summary.split("](").skip(1);
    let targets = targets.filter_map(|end| Some(end.split_once(')')?.0));
    let page = |target: &str| match (target.strip_prefix("../../"), target.strip_prefix("../")) {
        (Some(from_root), _) => from_root.to_owned(),
        (None, Some(beside)) => format!("constraints/{beside}"),
        (None, None) => target.to_owned(),
    };
    targets.map(page).collect()
}

const PLACES: &str = "iothread-it/cargo-kata-test/tests/places";

fn all() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks(page)).collect()
}

fn of(wanted: Class) -> Vec<Block> {
    let all = all().into_iter();
    let found: Vec<_> = all.filter(|block| class(block) == Ok(wanted)).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn every_block_is_checked() {
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    let all = all();
    for block in &all {
        match class(block) {
            Ok(class) => *counts.entry(format!("{class:?}")).or_insert(0) += 1,
            Err(why) => wrong.push(format!(
                "{}: {}: {why}\n{}",
                block.page, block.info, block.text
            )),
        }
    }
    let tests = ["pages.rs", "upkeep.rs"].map(|file| root().join(PLACES).join(file));
    let tests = tests.map(|file| fs::read_to_string(file).unwrap()).concat();
    for block in all.iter().filter(|block| is_followed(block)) {
        assert!(tests.contains(&block.page), "no test runs {}", block.page);
    }
    println!("{} blocks: {counts:?}", all.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for own in &OWN_TESTS {
        let found = all
            .iter()
            .filter(|block| OwnTest::of(block).is_some_and(|one| std::ptr::eq(one, own)));
        assert_eq!(found.count(), own.count, "{own:?}");
        let test = fs::read_to_string(root().join(own.test)).unwrap();
        assert!(test.contains(own.page), "{own:?}");
    }
    for (start, why) in &NOT_RUN {
        let mut commands = all.iter().flat_map(Block::commands);
        let is_used = commands.any(|command| command.starts_with(start));
        assert!(is_used, "there is no such command: {start}: {why}");
    }
}

#[test]
fn a_block_of_another_kind_is_wrong() {
    let block = |page: &str, info: &str| Block {
        page: page.to_owned(),
        info: info.to_owned(),
        text: "$ true\n".to_owned(),
    };
    for (page, info) in [
        ("vms.md", ""),
        ("vms.md", "yaml"),
        ("vms.md", "rust,ignore"),
        ("honesty.md", "console"),
        ("honesty.md", "rust file=a.rs"),
        ("vms.md", "console fails"),
    ] {
        assert!(class(&block(page, info)).is_err(), "{page}: {info}");
    }
}

/// For a build of kata-test and some small tests, on a busy machine.
const BUILD_TIMEOUT: Duration = Duration::from_secs(600);

/// A package in a folder that is kept, whose tests are these.
fn package(name: &str, tests: &[(String, String)]) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let kata_test = root().join("constraints").canonicalize().unwrap();
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dev-dependencies]\n\
         kata-test = {{ path = {kata_test:?} }}\n"
    );
    let tests_folder = folder.path().join("tests");
    for made in [&tests_folder, &folder.path().join("src")] {
        fs::create_dir(made).unwrap();
    }
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();
    for (name, source) in tests {
        fs::write(tests_folder.join(format!("{name}.rs")), source).unwrap();
        if source.contains("kata_test::main!") {
            manifest += &format!("[[test]]\nname = \"{name}\"\nharness = false\n");
        }
    }
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    let lock = "Cargo.lock";
    // These versions have been downloaded: this workspace is built with them.
    fs::copy(root().join(lock), folder.path().join(lock)).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_", "KATA_TEST", "LD_LIBRARY_PATH"]
            .iter()
            .any(|one| text.starts_with(one))
            && text != "CARGO_HOME"
        {
            cargo.env_remove(&name);
        }
    }
    // That of `messages.rs`.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-hour");
    cargo
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "none");
    (folder, cargo)
}

/// That of kata-test-runner's README is a documentation test. Attributes of the page of constraints are one target.
#[test]
fn code_compiles() {
    let blocks = of(Class::Compiled).into_iter();
    let (attributes, blocks): (Vec<_>, Vec<_>) = blocks
        .filter(|block| block.page != RUNNER_README)
        .partition(|block| block.language() == "text");
    let test = |(at, block): (usize, &Block)| {
        let import = match block.text.contains("use kata_test::") {
            true => "",
            false => "#[allow(unused_imports)] use kata_test::kata_test;\n",
        };
        let page = block.page.replace(['.', '/', '-'], "_").to_lowercase();
        (
            format!("{page}_{at}"),
            format!("#![allow(dead_code)]\n{import}{}", block.text),
        )
    };
    let mut tests: Vec<_> = blocks.iter().enumerate().map(test).collect();
    let probe = "pub fn probe() -> kata_test::Verdict { unreachable!() }";
    let mut source =
        format!("use kata_test::kata_test;\nmod path {{ pub mod to {{ {probe} }} }}\n");
    for (at, attribute) in attributes.iter().enumerate() {
        let text = &attribute.text;
        let constraint = text.trim().strip_prefix("#[kata_test(");
        let constraint = constraint.and_then(|text| text.strip_suffix(")]"));
        let constraint = constraint.unwrap_or_else(|| panic!("{text}"));
        // Configurations have it too, but for `when`, which names a function.
        let parsed = parse(constraint);
        let is_valid = parsed.is_ok() || constraint.starts_with("when = ");
        assert!(is_valid, "{constraint}: {parsed:?}");
        source += &format!("{text}fn attribute_{at}() {{}}\n");
    }
    tests.push(("attributes".to_owned(), source));
    let (_folder, mut cargo) = package("blocks", &tests);
    cargo.args(["check", "--offline", "--tests"]);
    let (status, _, errors) = run("cargo check of the blocks", cargo, BUILD_TIMEOUT);
    assert!(status.success(), "{errors}");
}

#[test]
fn configurations_can_be_read() {
    for block in of(Class::Parsed)
        .iter()
        .filter(|block| block.language() == "toml")
    {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".config")).unwrap();
        fs::write(folder.path().join(".config/kata-test.toml"), &block.text).unwrap();
        let config = Config::load(folder.path());
        assert!(config.is_ok(), "{}: {config:?}\n{}", block.page, block.text);
    }
}

/// The output of the README's test for a user without privileges.
fn output_of_the_readme() -> String {
    let readme = blocks("README.md").into_iter();
    let test = readme
        .map(|block| (class(&block), block))
        .find(|(class, _)| *class == Ok(Class::Compiled));
    let source = format!("{}kata_test::main!();\n", test.unwrap().1.text);
    let (folder, mut cargo) = package("readme", &[("readme".to_owned(), source)]);
    cargo.args(["test", "--offline", "--no-run", "--test", "readme"]);
    cargo.args(["--message-format", "json"]);
    let (status, messages, errors) = run("cargo test of the README", cargo, BUILD_TIMEOUT);
    assert!(status.success(), "{errors}");
    let mut messages = messages
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let binary = messages.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    // In a folder that every user can read.
    let program = folder.path().join("program");
    // By another process: one that is forked meanwhile would keep the copy open for writing.
    let mut copy = Command::new("cp");
    copy.arg(binary.unwrap()).arg(&program);
    assert!(run("cp", copy, Duration::from_secs(60)).0.success());
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everyone).unwrap();
    let mut command = Command::new(&program);
    command
        .current_dir("/")
        .env("KATA_TEST_RECORD_DIR", "/nonexistent");
    let user = nix::unistd::geteuid();
    if user.is_root() {
        command.uid(1000).gid(1000);
    }
    let what = "the test of the README";
    let (_, text, _) = run(what, command, Duration::from_secs(60));
    match user.is_root() {
        true => text,
        false => text.replace(&format!("uid is {user}"), "uid is 1000"),
    }
}

#[test]
fn outputs_are_real() {
    let outputs = output_of_the_readme();
    for block in of(Class::Compared)
        .iter()
        .filter(|block| block.page != "cli.md" && OwnTest::of(block).is_none())
    {
        for line in block.text.lines() {
            assert!(
                outputs.lines().any(|one| one == line),
                "{}: {line}\nis not in\n{outputs}",
                block.page
            );
        }
    }
}
