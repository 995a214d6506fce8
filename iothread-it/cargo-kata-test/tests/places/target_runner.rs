//! `cargo kata-test run` as cargo's target runner: the examples of its help, in a scratch workspace.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;

use crate::commands::in_package;
use crate::folder;
use crate::run::RUNNER;

const FILES: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        "[workspace]\n[package]\nname = 'scratch-runner'\nversion = '0.1.0'\nedition = '2024'\n",
    ),
    ("src/lib.rs", ""),
    (
        "src/bin/a-program.rs",
        "fn main() { println!(\"started\"); }",
    ),
    (
        "tests/vm.rs",
        r#"
use std::fs;

#[test] fn runs_in_the_guest() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(name, "guest\n");
}
#[test] fn finds_its_package() {
    assert!(fs::read_to_string("Cargo.toml").unwrap().contains("scratch-runner"));
    fs::write("written", "in the guest").unwrap();
}
#[test] fn starts_a_program_of_its_package() {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_a-program"));
    let output = { program }.output().unwrap();
    assert_eq!(output.stdout, b"started\n");
}
#[test] #[ignore = "it fails"] fn fails() { panic!("as it should"); }
"#,
    ),
];

/// Writes the package, outside of this workspace's configuration for cargo.
fn workspace() -> Result<ScratchDir> {
    let folder = folder()?;
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(path, text)?;
    }
    Ok(folder)
}

/// Runs a shell's command as a user of an installed `cargo kata-test` does.
fn shell(folder: &Path, line: &str) -> Result<Output> {
    let programs = Path::new(RUNNER).parent().context("no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let mut command: Command = in_package("sh", folder)?;
    command
        .args(["-c", line])
        .env("PATH", std::env::join_paths(path)?);
    Ok(command.output()?)
}

/// Returns the lines of the help that start with a text.
fn examples(folder: &Path, start: &str) -> Result<Vec<String>> {
    let help = shell(folder, "cargo kata-test run --help")?;
    let help = String::from_utf8(help.stdout)?;
    let lines = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(start));
    Ok(lines.map(str::to_owned).collect())
}

/// Runs an example. Returns what it printed.
fn passes(folder: &Path, line: &str) -> Result<String> {
    let output = shell(folder, line)?;
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let text = text.concat();
    println!("$ {line}\n{text}");
    ensure!(output.status.success(), "{line}: {}", output.status);
    ensure!(!folder.join("written").exists(), "a test ran on this host");
    Ok(text)
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn cargo_test_runs_the_tests_in_the_guest() -> Result<()> {
    let workspace = workspace()?;
    let folder = workspace.path();
    let lines = examples(folder, "CARGO_TARGET_")?;
    let of_cargo = lines.iter().find(|line| line.ends_with("cargo test"));
    let of_cargo = of_cargo.context("the help has no example for cargo test")?;
    let text = passes(folder, of_cargo)?;
    assert!(text.contains("3 passed; 0 failed; 1 ignored"), "{text}");
    let failing = shell(folder, &format!("{of_cargo} -- --ignored"))?;
    assert_eq!(failing.status.code(), Some(101));
    let text = String::from_utf8_lossy(&failing.stdout);
    assert!(text.contains("as it should"), "{text}");

    // The same in cargo's configuration.
    let config =
        examples(folder, "[target.")?.concat() + "\n" + &examples(folder, "runner =")?.concat();
    fs::create_dir(folder.join(".cargo"))?;
    fs::write(folder.join(".cargo/config.toml"), config)?;
    let text = passes(folder, "cargo test")?;
    assert!(text.contains("3 passed; 0 failed; 1 ignored"), "{text}");
    let text = passes(folder, "cargo run --quiet")?;
    assert_eq!(text, "started\n");
    Ok(())
}

/// nextest runs each test in a guest of its own, several at once.
#[kata_test(
    when = crate::artifacts_provided,
    command = "cargo-nextest",
    serial = "places-packages",
    timeout = "15m"
)]
fn nextest_runs_each_test_in_a_guest() -> Result<()> {
    let workspace = workspace()?;
    let lines = examples(workspace.path(), "CARGO_TARGET_")?;
    let of_nextest = lines.iter().find(|line| line.ends_with("nextest run"));
    let of_nextest = of_nextest.context("the help has no example for nextest")?;
    let text = passes(workspace.path(), of_nextest)?;
    assert!(text.contains("3 passed, 1 skipped"), "{text}");
    Ok(())
}
