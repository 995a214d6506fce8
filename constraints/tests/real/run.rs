//! Building and running the sample binaries.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use nix::sys::signal::{SigHandler, Signal, signal};

use super::folder::Folder;

/// The uid and gid of nobody on almost every system.
pub(crate) const NOBODY: u32 = 65534;

/// A sample in a folder of its own, where any user can reach it and leave records.
pub(crate) struct Sample {
    dir: Folder,
    executable: PathBuf,
}

impl Sample {
    /// Builds the test target of this package and copies it.
    pub(crate) fn build(target: &str) -> Self {
        let dir = Folder::make();
        let executable = dir.path().join(target);
        copy(&build(target), &executable);
        let records = dir.path().join("records");
        fs::create_dir(&records).expect("a folder");
        for (path, mode) in [(dir.path(), 0o755), (&records, 0o777)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        Self { dir, executable }
    }

    /// A command that runs it as if nothing else had ever been set.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        heed_sigint();
        let mut command = Command::new(&self.executable);
        command.args(args).current_dir(self.dir.path());
        clean(&mut command);
        command.env("KATA_TEST_RECORD_DIR", self.records());
        command.env("KATA_TEST_RUN", "this");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Finished::by(self.command(args))
    }

    /// Runs it as a user who is not root.
    pub(crate) fn run_unprivileged(&self, args: &[&str]) -> Finished {
        let mut command = self.command(args);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Finished::by(command)
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.dir.path().join("records")
    }

    /// The file by which a serial group is locked.
    pub(crate) fn serial_lock(&self, group: &str) -> fs::File {
        let path = self.records().join("serial").join(format!("{group}.lock"));
        fs::File::open(path).expect("the file of a serial group")
    }

    /// Every line that was recorded until now.
    pub(crate) fn recorded(&self) -> String {
        let mut files: Vec<PathBuf> = fs::read_dir(self.records().join("latest"))
            .expect("the folder of the latest run")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect();
        files.sort();
        files
            .iter()
            .map(|file| fs::read_to_string(file).expect("records"))
            .collect()
    }
}

/// Samples inherit from this process whether SIGINT is ignored, which a shell sets for what it runs in the background.
#[expect(unsafe_code, reason = "a signal's disposition is set")]
fn heed_sigint() {
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.expect("a disposition");
}

/// Copies an executable, by another process: a descriptor of ours that is open for writing could be
/// inherited by a child that another test is just starting, and then it is "text file busy".
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

/// The output and the exit code of a process.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Finished {
    pub(crate) fn by(mut command: Command) -> Self {
        let Output {
            stdout,
            stderr,
            status,
        } = command.output().expect("a process");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            stdout: text(stdout),
            stderr: text(stderr),
            code: status.code(),
        }
    }

    /// The line about one test.
    pub(crate) fn line(&self, test: &str) -> &str {
        let start = format!("test {test} ");
        let line = self.stdout.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no line about {test} in {self:?}"))
    }

    /// Standard output without what differs from run to run and from host to host.
    pub(crate) fn stable(&self) -> String {
        let mut text = self.stdout.clone();
        for (before, after) in [
            ("finished in ", "\n"),
            ("effective uid is ", " "),
            ("kernel is ", " "),
            ("thread 'main' (", ")"),
            ("cases.rs:", "\n"),
            ("left behind: ", "\n"),
            (": process ", " ("),
            ("the test crashed with SIGABRT:", "\n\n"),
        ] {
            text = mask(&text, before, after);
        }
        text
    }
}

/// Puts dots between each `before` and the next `after`.
fn mask(text: &str, before: &str, after: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(before) {
        let end = tail.find(after).unwrap_or(tail.len());
        masked.extend([head, before, "…"]);
        rest = &tail[end..];
    }
    masked + rest
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Takes away what cargo, nextest and a caller of these tests may have set.
pub(crate) fn clean(command: &mut Command) {
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        [
            "NEXTEST",
            "KATA_TEST",
            "RUST_TEST",
            "RUST_BACKTRACE",
            "SAMPLE",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// Has cargo build a test target of this package, which it mostly has already, and returns the executable.
fn build(target: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--no-run", "--quiet", "--message-format=json"])
        .args(["--test", target])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if cfg!(feature = "tokio") {
        // Then all of the workspace is built, with all features: a sample shares what this test is built of.
        command.args(["--workspace", "--all-features"]);
    }
    clean(&mut command);
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let executable = |message: &str| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        // Another package may have a target of this name.
        let is_of_this =
            message["manifest_path"] == manifest && message["target"]["name"] == target;
        let path = message["executable"].as_str().filter(|_| is_of_this)?;
        Some(PathBuf::from(path))
    };
    out.stdout.lines().find_map(executable).expect("a binary")
}
