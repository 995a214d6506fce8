//! Pages of the book, followed to the letter in an empty folder beside a checkout.
//!
//! A block of the page says by a word behind its language what it is: `file=PATH` is a file, `add=PATH` the end of
//! one, and `replace=PATH:TEXT` stands in for that text in one. Lines of `console` that begin with `$ ` are commands,
//! which succeed, and the last of `fails` does not; the lines behind a command are in its output, where `…`
//! stands for any text. A block of `setup` is left out: it installs the program that this test has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;

use crate::commands::in_package;
use crate::run::RUNNER;
use crate::scratch_package::scratch_package;

/// A fenced block.
struct Block<'a> {
    info: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let text = inside.flat_map(|line| [line, "\n"]).collect();
        blocks.push(Block { info, text });
    }
    blocks
}

/// A reader with an empty folder.
struct Reader {
    folder: PathBuf,
}

impl Reader {
    fn follow(&mut self, block: &Block<'_>) -> Result<()> {
        let (language, what) = block.info.split_once(' ').unwrap_or((block.info, ""));
        match (language, what.split_once('=')) {
            ("console", _) if what == "setup" => Ok(()),
            ("console", _) => self.console(&block.text, what == "fails"),
            (_, Some(("file", path))) => {
                let path = self.folder.join(path);
                fs::create_dir_all(path.parent().context("no folder")?)?;
                Ok(fs::write(path, &block.text)?)
            }
            (_, Some(("add", path))) => {
                let path = self.folder.join(path);
                let text = fs::read_to_string(&path)?;
                Ok(fs::write(path, text + &block.text)?)
            }
            (_, Some(("replace", what))) => {
                let (path, old) = what.split_once(':').context("no text")?;
                let path = self.folder.join(path);
                let text = fs::read_to_string(&path)?;
                ensure!(text.lines().any(|line| line == old), "no line {old}");
                let lines = text.lines().map(|line| match line == old {
                    true => block.text.trim_end(),
                    false => line,
                });
                Ok(fs::write(path, lines.collect::<Vec<_>>().join("\n"))?)
            }
            _ => anyhow::bail!("what is to be done with this block? {}", block.info),
        }
    }

    fn console(&mut self, text: &str, last_fails: bool) -> Result<()> {
        let commands: Vec<&str> = text.split("$ ").skip(1).collect();
        for (at, command) in commands.iter().enumerate() {
            let (command, expected) = command.split_once('\n').context("no line")?;
            println!("$ {command}");
            if let Some(folder) = command.strip_prefix("cd ") {
                self.folder.push(folder);
                continue;
            }
            let fails = last_fails && at + 1 == commands.len();
            check(command, &self.run(command, fails)?, expected)?;
        }
        Ok(())
    }

    fn run(&self, command: &str, fails: bool) -> Result<String> {
        let programs = Path::new(RUNNER).parent().context("no folder")?;
        let path = std::env::var("PATH")?;
        let ran = in_package("sh", &self.folder)?
            .args(["-c", &format!("{command} 2>&1")])
            .env("PATH", format!("{}:{path}", programs.display()))
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("LD_LIBRARY_PATH")
            .output()?;
        let output = String::from_utf8(ran.stdout)?;
        println!("{output}");
        ensure!(ran.status.success() != fails, "{command}: {}", ran.status);
        Ok(output)
    }
}

/// Checks that the lines that a page shows are in the output. Tests end in any order.
fn check(command: &str, output: &str, expected: &str) -> Result<()> {
    for expected in expected.lines() {
        let is_it = |line: &str| match expected.split_once('…') {
            Some((start, end)) => line.starts_with(start) && line.ends_with(end),
            None => line == expected,
        };
        ensure!(
            output.lines().any(is_it),
            "{command} does not print: {expected}"
        );
    }
    Ok(())
}

/// Follows a page of `constraints/docs`, which has so many blocks.
fn follow(page: &str, count: usize) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints/docs");
    let page = fs::read_to_string(docs.join(page))?;
    // Outside of the checkout, whose workspace cargo would find.
    let folder = ScratchDir::new_in(&std::env::temp_dir())?;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::os::unix::fs::symlink(checkout.canonicalize()?, folder.path().join("kata-test"))?;
    let mut reader = Reader {
        folder: folder.path().to_owned(),
    };
    let blocks = blocks(&page);
    ensure!(blocks.len() == count, "{} blocks", blocks.len());
    blocks.iter().try_for_each(|block| reader.follow(block))
}

/// The page shows what root sees on a newer kernel than the one that its test needs. Cargo may fetch dependencies.
#[kata_test(
    root,
    kernel_ge = "6.2",
    network = "user",
    when = crate::artifacts_provided,
    serial = "places-packages",
    timeout = "20m"
)]
fn the_tutorial_works_as_it_is_written() -> Result<()> {
    follow("tutorial.md", 13)
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "20m")]
fn the_page_on_plain_tests_works_as_it_is_written() -> Result<()> {
    follow("plain-tests.md", 1)
}

#[kata_test(network = "user", serial = "places-packages", timeout = "20m")]
fn the_page_on_the_attribute_works_as_it_is_written() -> Result<()> {
    follow("annotated-tests.md", 4)
}

/// The script for CI jobs: its exit code is that of the tests, and the job's page has the summary.
#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "10m")]
fn the_script_for_ci_runs_tests_and_shows_a_summary() -> Result<()> {
    let plain = "#[test] fn passes() {}\n#[test] fn fails() { panic!(\"as it should\") }\n";
    let annotated = "kata_test::main!();";
    let package = scratch_package(&[("tests/plain.rs", plain), ("tests/annotated.rs", annotated)])?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints/ci/test.sh");
    let programs = Path::new(RUNNER).parent().context("no folder")?;
    let summary = package.path().join("summary");
    let run = |arguments: &[&str]| -> Result<_> {
        let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
        let ran = in_package(&script, package.path())?
            .args(arguments)
            .env("PATH", path)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env_remove("LD_LIBRARY_PATH")
            // It would clear the saved VMs.
            .env_remove("CI")
            .output()?;
        println!("{}", String::from_utf8_lossy(&ran.stdout));
        println!("{}", String::from_utf8_lossy(&ran.stderr));
        Ok(ran.status.code())
    };
    assert_eq!(run(&[])?, Some(2));
    assert_eq!(
        run(&["vm:6.1", "--skip", "fails", "--test", "plain"])?,
        Some(0)
    );
    assert_eq!(run(&["here", "--test", "plain"])?, Some(1));
    let text = fs::read_to_string(&summary)?;
    println!("{text}");
    assert!(text.contains("| scratch::plain | fails |"));
    assert_eq!(text.matches("# Tests: ").count(), 2, "one for each run");
    Ok(())
}
