//! Generated packages: a library with a dependency, and a test target.
//!
//! They are kept below the target folder, so that a second run finds built dependencies.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::cargo;

/// The number of tests of a package.
pub(super) const TESTS: usize = 1000;

const FORKS: &str = "\
use std::collections::VecDeque;
use std::io::{PipeReader, Read};

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdout, fork, setpgid};

fn main() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = VecDeque::new();
    for _ in 0..{TESTS} {
        if running.len() == cpus {
            running.pop_front().map(end);
        }
        running.push_back(begin());
    }
    running.into_iter().for_each(end);
}

fn begin() -> (Pid, PipeReader) {
    let (read, write) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => (child, read),
        ForkResult::Child => {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).unwrap();
            dup2_stdout(&write).unwrap();
            dup2_stderr(&write).unwrap();
            std::process::exit(0)
        }
    }
}

fn end((child, mut output): (Pid, PipeReader)) {
    output.read_to_end(&mut Vec::new()).unwrap();
    waitpid(child, None).unwrap();
}
";

pub(super) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Tests with an attribute, in which `{50}` becomes one of fifty numbers.
    pub(super) fn kata_test(below: &Path, name: &str, attribute: &str) -> Result<Self> {
        let constraints = Path::new(env!("CARGO_MANIFEST_DIR")).join("../constraints");
        let dependency = format!(
            "kata-test = {{ path = {constraints:?} }}\n[[test]]\nname = \"many\"\nharness = false"
        );
        let mut source = String::from("use kata_test::kata_test;\nkata_test::main!();\n");
        for index in 0..TESTS {
            let attribute = attribute.replace("{50}", &(index % 50).to_string());
            writeln!(source, "{attribute}\nfn t{index}() {{}}")?;
        }
        Self::write(below, name, &dependency, &source)
    }

    /// Tests for Rust's own harness.
    pub(super) fn plain(below: &Path) -> Result<Self> {
        let mut source = String::new();
        for index in 0..TESTS {
            writeln!(source, "#[test]\nfn t{index}() {{}}")?;
        }
        Self::write(below, "plain", "", &source)
    }

    /// No harness: the lower bound of one with a process per test. It forks a process group leader for
    /// each test, reads its output and waits for it, as many at a time as there are CPUs.
    pub(super) fn forks(below: &Path) -> Result<Self> {
        let dependency = "nix = { version = \"0.31\", default-features = false, features = \
                          [\"fs\", \"process\"] }\n[[test]]\nname = \"many\"\nharness = false";
        let source = FORKS.replace("{TESTS}", &TESTS.to_string());
        Self::write(below, "forks", dependency, &source)
    }

    /// A package that depends on libtest-mimic, with nothing in it.
    pub(super) fn libtest_mimic(below: &Path) -> Result<Self> {
        let dependency = "libtest-mimic = \"0.8\"";
        Self::write(below, "cold-mimic", dependency, "fn main() {}\n")
    }

    fn write(below: &Path, name: &str, dependencies: &str, tests: &str) -> Result<Self> {
        let folder = below.join(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}\n"
        );
        for (file, text) in [
            ("Cargo.toml", manifest.as_str()),
            ("src/lib.rs", ""),
            ("tests/many.rs", tests),
        ] {
            let path = folder.join(file);
            let parent = path.parent().context("a file has a folder")?;
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            update(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(Self { folder })
    }

    /// Cargo in this package, with a target folder of its own.
    pub(super) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo::cargo();
        command.args(args).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", self.target());
        command
    }

    /// Touches the tests' source, so that cargo compiles it again.
    pub(super) fn touch(&self) -> Result<()> {
        let path = self.folder.join("tests/many.rs");
        let file = fs::File::options().append(true).open(&path);
        let touched = file.and_then(|file| file.set_modified(SystemTime::now()));
        touched.with_context(|| path.display().to_string())
    }

    /// Removes everything that was built.
    pub(super) fn clean(&self) -> Result<()> {
        let target = self.target();
        if target.exists() {
            fs::remove_dir_all(&target).with_context(|| target.display().to_string())?;
        }
        Ok(())
    }

    /// Builds the tests and returns the path of the executable.
    pub(super) fn test_binary(&self) -> Result<PathBuf> {
        cargo::executable(&mut self.cargo(&["test", "--no-run", "--quiet", "--test=many"]))
    }

    fn target(&self) -> PathBuf {
        self.folder.join("target")
    }
}

/// Writes a file. An unchanged one keeps its time, so that cargo does not rebuild.
pub(in crate::bench) fn update(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => fs::write(path, text),
    }
}
