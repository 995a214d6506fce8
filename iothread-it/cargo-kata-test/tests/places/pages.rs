//! Pages of the book, followed to the letter in a folder beside a checkout. `pages/mod.rs` says what a block means.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;

use crate::book::{Block, STARTS, Start, blocks, is_followed, is_read_by_cargo, is_run, root};
use crate::commands::{example, in_package, target};
use crate::run::RUNNER;
use crate::scratch_package::scratch_package;

/// A reader with a folder.
pub(crate) struct Reader {
    folder: PathBuf,
    /// Commands that set variables for those behind them.
    exports: String,
}

impl Reader {
    /// A reader in the package of a page, if it has one.
    pub(crate) fn new(page: &str, folder: &Path) -> Result<Self> {
        let mut reader = Self {
            folder: folder.to_owned(),
            exports: String::new(),
        };
        if let Some(start) = STARTS.iter().find(|start| start.page == page) {
            reader.folder.push(start.package);
            make(start, &reader.folder)?;
        }
        Ok(reader)
    }

    pub(crate) fn follow(&mut self, block: &Block) -> Result<()> {
        match (block.language(), block.words().split_once('=')) {
            ("console", _) => self.console(block),
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

    fn console(&mut self, block: &Block) -> Result<()> {
        let (last_fails, varies) = (block.is("fails"), block.is("varies"));
        let commands: Vec<Command> = commands(&block.text);
        for (at, command) in commands.iter().enumerate() {
            let line = &command.line;
            println!("$ {line}");
            if let Some(folder) = line.strip_prefix("cd ") {
                self.folder.push(folder);
            } else if line.starts_with("export ") || is_assignment(line) {
                self.exports += line;
                self.exports += "\n";
            } else if is_read_by_cargo(line) {
                self.read_by_cargo(line)?;
            } else if is_run(line) {
                let fails = last_fails && at + 1 == commands.len();
                let output = self.run(command, fails)?;
                check(line, &output, &command.expected, varies)?;
            }
        }
        Ok(())
    }

    /// Replaces the hash in the name of a test binary, which a reader would copy.
    fn with_hash(&self, line: &str) -> Result<String> {
        const SHOWN: &str = "target/debug/deps/it-0123456789abcdef";
        if !line.contains(SHOWN) {
            return Ok(line.to_owned());
        }
        let folder = self.folder.join("target/debug/deps");
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let is_it = |name: &str| name.starts_with("it-") && name.len() == "it-".len() + 16;
        let built = entries
            .iter()
            .filter(|entry| is_it(&entry.file_name().to_string_lossy()));
        let newest =
            built.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
        let name = newest.context("no test binary")?.file_name();
        Ok(line.replace(
            SHOWN,
            &format!("target/debug/deps/{}", name.to_string_lossy()),
        ))
    }

    /// Stops cargo where it knows the package and has read its lock file.
    fn read_by_cargo(&self, line: &str) -> Result<()> {
        let checkout = root();
        let in_folder = line.split(' ').any(|path| self.folder.join(path).is_dir());
        // What the README says is done in the checkout.
        let folder = if in_folder { &self.folder } else { &checkout };
        let mut shell = in_package("sh", folder)?;
        shell.args(["-c", &format!("{line} --bin none")]);
        let read = shell.env("CARGO_NET_OFFLINE", "true").output()?;
        let error = String::from_utf8_lossy(&read.stderr);
        println!("{error}");
        let expected = "available bin targets:\n      cargo-kata-test\n";
        ensure!(error.contains(expected), "{line}: {error}");
        Ok(())
    }

    fn run(&self, command: &Command, fails: bool) -> Result<String> {
        let line = &self.with_hash(&command.line)?;
        let mut ran = shell(&self.folder, &format!("exec 2>&1\n{}{line}", self.exports))?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = ran.stdin.take().context("no input")?;
        // A program that reads nothing has closed it.
        let _ = input.write_all(command.input.as_bytes());
        drop(input);
        let ran = ran.wait_with_output()?;
        let output = String::from_utf8(ran.stdout)?;
        println!("{output}");
        ensure!(
            ran.status.code() == Some(i32::from(fails)),
            "{line}: {}",
            ran.status
        );
        Ok(output)
    }
}

/// A shell with the runner on PATH.
pub(crate) fn shell(folder: &Path, commands: &str) -> Result<process::Command> {
    let programs = Path::new(RUNNER).parent().context("no folder")?;
    let path = std::env::var("PATH")?;
    let mut shell = in_package("sh", folder)?;
    shell
        .args(["-c", commands])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("LD_LIBRARY_PATH")
        // The script for CI jobs would clear the saved VMs.
        .env_remove("CI");
    Ok(shell)
}

/// Whether a command only sets a variable.
fn is_assignment(line: &str) -> bool {
    let value = line.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    let value = value.strip_prefix("=\"");
    let value = value.and_then(|value| value.strip_suffix('"'));
    value.is_some_and(|value| !value.contains('"')) && !line.starts_with('=')
}

/// A command of a block.
#[derive(Default)]
struct Command {
    line: String,
    /// The lines that are typed into it.
    input: String,
    /// Lines of its output.
    expected: Vec<String>,
}

fn commands(text: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for line in text.lines() {
        match (line.split_once(' '), commands.last_mut()) {
            (Some(("$", line)), _) => commands.push(Command {
                line: line.to_owned(),
                ..Command::default()
            }),
            (Some(("#", line)), Some(last)) => last.input.extend([line, "\n"]),
            (_, Some(last)) => last.expected.push(line.to_owned()),
            _ => {}
        }
    }
    commands
}

/// Checks that the lines that a page shows are in the output. Tests end in any order.
fn check(command: &str, output: &str, expected: &[String], varies: bool) -> Result<()> {
    let normal = |line: &str| match varies {
        true => without_figures(line),
        false => line.to_owned(),
    };
    for expected in expected {
        let expected = normal(expected);
        let is_it = |line: &str| has_parts(&normal(line), &expected);
        ensure!(
            output.lines().any(is_it),
            "{command} does not print: {expected}"
        );
    }
    Ok(())
}

/// Whether a line has the parts of a text with `…`, in their order, and begins and ends with the outer ones.
pub(crate) fn has_parts(line: &str, text: &str) -> bool {
    let Some((start, rest)) = text.split_once('…') else {
        return line == text;
    };
    let Some(mut left) = line.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

/// Each number as 0, and each space as one.
fn without_figures(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if !matches!(c, '0' | ' ') || !text.ends_with(c) {
            text.push(c);
        }
    }
    text
}

/// Follows a page in a folder that has the checkout beside what the reader makes.
fn follow(page: &str) -> Result<()> {
    follow_blocks(page, is_followed)
}

/// Follows some blocks of a page.
fn follow_blocks(page: &str, is_one: impl Fn(&Block) -> bool) -> Result<()> {
    // Outside of the checkout, whose workspace cargo would find.
    let folder = ScratchDir::new_in(&std::env::temp_dir())?;
    symlink(root().canonicalize()?, folder.path().join("kata-test"))?;
    let mut reader = Reader::new(page, folder.path())?;
    let blocks: Vec<_> = blocks(page).into_iter().filter(is_one).collect();
    ensure!(!blocks.is_empty(), "nothing is run");
    blocks.iter().try_for_each(|block| reader.follow(block))
}

/// Makes the package in which a page is followed. All of them build in one folder.
pub(crate) fn make(start: &Start, folder: &Path) -> Result<()> {
    let kata_test = root().join("constraints").canonicalize()?;
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"{}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [profile.dev]\ndebug = false\n",
        start.package
    );
    if let Some(target) = start.annotated {
        manifest += &format!(
            "[dev-dependencies]\nkata-test = {{ path = {kata_test:?} }}\n\
             [[test]]\nname = \"{target}\"\nharness = false\n"
        );
        fs::create_dir_all(folder)?;
        fs::copy(example().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    }
    let own = [("Cargo.toml", manifest.as_str()), ("src/lib.rs", "")];
    for (path, text) in own.iter().chain(start.files) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, text)?;
    }
    Ok(symlink(target()?, folder.join("target"))?)
}

macro_rules! followed {
    ($($test:ident: $page:literal,)*) => {
        $(
            #[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "10m")]
            fn $test() -> Result<()> {
                follow($page)
            }
        )*
    };
}

followed! {
    the_readme_works: "README.md",
    the_page_on_userns_works: "userns.md",
    the_page_on_kvm_works: "kvm.md",
    the_page_on_vms_works: "vms.md",
    the_page_on_files_works: "files.md",
    the_page_on_debugging_works: "debugging.md",
    the_page_on_migrating_works: "migrating.md",
    the_page_on_ci_works: "ci.md",
    the_page_on_places_works: "places.md",
    the_page_on_the_doctor_works: "doctor.md",
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
    follow("tutorial.md")
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "20m")]
fn the_page_on_plain_tests_works_as_it_is_written() -> Result<()> {
    follow("plain-tests.md")
}

#[kata_test(network = "user", serial = "places-packages", timeout = "20m")]
fn the_page_on_the_attribute_works_as_it_is_written() -> Result<()> {
    follow("annotated-tests.md")
}

/// On the test that `files.md` shows before. The other commands of that page need no tools for coverage.
#[kata_test(
    when = crate::artifacts_provided,
    when = crate::coverage::has_tools,
    command = "rustup",
    serial = "places-packages",
    timeout = "10m"
)]
fn the_commands_for_coverage_work() -> Result<()> {
    let is_one = |block: &Block| block.is("file=tests/it.rs") || block.text.contains("llvm-cov");
    follow_blocks("files.md", is_one)
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
    // That of an earlier run, which the checks below would find.
    if let Err(error) = fs::remove_file(target()?.join("kata-test/latest")) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
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

    // What the listing for GitLab keeps.
    let listing = blocks("ci.md");
    let listing = listing.iter().find(|block| block.text.contains("junit: "));
    let words = listing
        .context("no listing")?
        .text
        .split([' ', '[', ']', '\n']);
    let kept = words.filter_map(|word| word.strip_prefix("target/"));
    let kept: Vec<_> = kept
        .map(|path| target().map(|target| target.join(path)))
        .collect::<Result<_>>()?;
    assert_eq!(kept.len(), 2, "{kept:?}");
    for path in kept {
        assert!(path.exists(), "there is no {}", path.display());
    }
    Ok(())
}
