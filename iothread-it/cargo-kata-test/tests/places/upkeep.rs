//! The commands of `constraints/docs/upkeep.md`, as they are written there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;

use crate::book::{Block, blocks, is_run, root};
use crate::commands::in_package;
use crate::run::RUNNER;

/// Returns the commands of sections, which must be there.
fn commands(sections: &[&str]) -> Result<Vec<String>> {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../constraints/docs/upkeep.md"
    );
    let page = fs::read_to_string(page)?;
    let mut commands = Vec::new();
    for section in sections {
        let start = format!("## {section}\n");
        let text = page.split_once(&start).context(start.clone())?.1;
        let text = text.split("\n## ").next().unwrap_or_default();
        let shown = text.lines().filter_map(|line| line.strip_prefix("$ "));
        let before = commands.len();
        commands.extend(shown);
        ensure!(commands.len() > before, "no command in {section}");
    }
    let run = commands.iter().filter(|command| is_run(command));
    Ok(run.map(|command| (*command).to_owned()).collect())
}

/// Makes a workspace with a test, and a folder for PATH with the runner.
fn workspace(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("src"))?;
    fs::create_dir(folder.join("bin"))?;
    fs::write(
        folder.join("Cargo.toml"),
        "[workspace]\n[package]\nname = \"new\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )?;
    fs::write(folder.join("src/lib.rs"), "#[test]\nfn passes() {}\n")?;
    Ok(symlink(RUNNER, folder.join("bin/cargo-kata-test"))?)
}

/// A shell that runs commands in a folder of the workspace.
fn shell(workspace: &Path, folder: &str, commands: &[String]) -> Result<Command> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let first = [workspace.join("bin"), workspace.join("cargo/bin")];
    let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))?;
    let mut command = in_package("sh", &workspace.join(folder))?;
    command
        .env("PATH", path)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args(["-euxc", &commands.join("\n")]);
    Ok(command)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}{errors}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

#[kata_test]
fn each_command_is_in_a_section_that_is_tested() -> Result<()> {
    let tested = commands(&["Upgrade", "Removal", "Without a network"])?;
    let blocks = blocks("upkeep.md");
    let shown = blocks.iter().flat_map(Block::commands);
    let shown: Vec<&str> = shown.filter(|command| is_run(command)).collect();
    assert_eq!(shown, tested);
    Ok(())
}

/// Commits a version of what stands in for this repository: packages with the names of ours, at the same paths.
fn publish(repository: &Path, version: &str) -> Result<()> {
    let packages = [
        (
            "iothread-it/cargo-kata-test",
            "cargo-kata-test",
            "src/main.rs",
        ),
        ("constraints", "kata-test", "src/lib.rs"),
    ];
    for (path, name, source) in packages {
        let package = repository.join(path);
        fs::create_dir_all(package.join("src"))?;
        let named = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        fs::write(
            package.join("Cargo.toml"),
            format!("[workspace]\n[package]\n{named}edition = \"2024\"\n"),
        )?;
        fs::write(
            package.join("Cargo.lock"),
            format!("version = 4\n[[package]]\n{named}"),
        )?;
        let source = package.join(source);
        fs::write(
            source,
            "pub fn main() { println!(env!(\"CARGO_PKG_VERSION\")) }\n",
        )?;
        // Those of the page are there in this repository too.
        let ours = fs::read_to_string(root().join(path).join("Cargo.toml"))?;
        ensure!(ours.contains(&format!("name = \"{name}\"\n")), "{path}");
    }
    succeed(git(repository).args(["add", "."]))?;
    succeed(git(repository).args(["commit", "--quiet", "--message", version]))
}

/// Git without the configuration of the user and of the machine, in this repository only.
fn git(repository: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(repository)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args(["-c", "user.name=test", "-c", "user.email=test"]);
    git
}

/// In a checkout of a repository that stands in for ours, whose packages take long to compile.
#[kata_test(command = "git", timeout = "2m")]
fn upgrade_and_removal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |path: &str| folder.path().join(path);
    let run = |folder_of_it: &str, commands: &[String]| -> Result<()> {
        let mut shell = shell(folder.path(), folder_of_it, commands)?;
        shell.env("KATA_TEST_CACHE", at("cache"));
        // Programs are installed here, and repositories are fetched to here.
        succeed(shell.env("CARGO_HOME", at("cargo")))
    };
    workspace(folder.path())?;
    for left in ["cache/indices/host", "target/kata-test", "upstream"] {
        fs::create_dir_all(at(left))?;
    }
    succeed(git(&at("upstream")).args(["init", "--quiet"]))?;
    publish(&at("upstream"), "1.0.0")?;
    succeed(git(folder.path()).args(["clone", "--quiet", "upstream", "checkout"]))?;
    let manifest = fs::read_to_string(at("Cargo.toml"))?;
    let upstream = at("upstream");
    let dependency = format!(
        "[dev-dependencies]\nkata-test.git = \"file://{}\"\n",
        upstream.display()
    );
    fs::write(at("Cargo.toml"), manifest + &dependency)?;
    run("", &["cargo generate-lockfile".to_owned()])?;
    let has = |version: &str| -> Result<bool> {
        let line = format!("version = \"{version}\"");
        Ok(fs::read_to_string(at("Cargo.lock"))?.contains(&line))
    };
    ensure!(has("1.0.0")?);
    publish(&at("upstream"), "2.0.0")?;

    let mut upgrade = commands(&["Upgrade"])?;
    let in_workspace = upgrade.split_off(2);
    run("checkout", &upgrade)?;
    let installed = at("cargo/bin/cargo-kata-test");
    let printed = Command::new(&installed).output()?.stdout;
    assert_eq!(String::from_utf8(printed)?, "2.0.0\n");
    run("", &in_workspace)?;
    ensure!(has("2.0.0")? && !has("1.0.0")?);

    run("", &commands(&["Removal"])?)?;
    for removed in [at("cache"), at("target/kata-test"), installed] {
        assert!(!removed.exists(), "{} is left", removed.display());
    }
    Ok(())
}

/// The cache of this user has what the first command fetches.
#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn without_a_network() -> Result<()> {
    let folder = tempfile::tempdir()?;
    workspace(folder.path())?;
    succeed(&mut shell(
        folder.path(),
        "",
        &commands(&["Without a network"])?,
    )?)
}
