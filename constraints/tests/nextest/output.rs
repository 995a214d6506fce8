//! Running the real nextest, and what it says.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

/// The output and the exit code of nextest.
pub(crate) struct Finished {
    pub(crate) text: String,
    pub(crate) code: Option<i32>,
    pub(crate) recorded: String,
    /// nextest's own JUnit.
    pub(crate) junit: String,
}

impl Finished {
    /// The word that nextest puts before a test's name.
    pub(crate) fn word(&self, test: &str) -> &str {
        let name = format!(" cases::{test}");
        // A failure is shown twice: as it happens, and at the end.
        let line = self.text.lines().find(|line| line.ends_with(&name));
        let line = line.unwrap_or_else(|| panic!("no line about {test} in\n{}", self.text));
        line.split_whitespace().next().expect("a word")
    }

    /// The last record of a test, from its run if there was one.
    pub(crate) fn record(&self, test: &str) -> &str {
        let name = format!("\"test\":\"cases::{test}\"");
        let mut lines = self.recorded.lines().filter(|line| line.contains(&name));
        let ran = lines
            .clone()
            .rfind(|line| line.contains("\"phase\":\"run\""));
        let line = ran.or_else(|| lines.next_back());
        line.unwrap_or_else(|| panic!("no record of {test} in\n{}", self.recorded))
    }
}

/// Runs a sample binary of this package by nextest.
pub(crate) fn nextest(target: &str, sample: &str, args: &[&str]) -> Finished {
    let records = tempfile::tempdir().expect("a folder");
    nextest_in(records.path(), target, args, &[("SAMPLE", sample)])
}

/// The same, with a variable set.
pub(crate) fn nextest_with(variable: (&str, &str), target: &str, args: &[&str]) -> Finished {
    let records = tempfile::tempdir().expect("a folder");
    nextest_in(records.path(), target, args, &[variable])
}

/// The same with records that stay, and with other variables.
pub(crate) fn nextest_in(
    records: &Path,
    target: &str,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Finished {
    let own = tempfile::tempdir().expect("a folder");
    let config = own.path().join("nextest.toml");
    let store = own.path().join("store");
    let text = format!(
        "[store]\ndir = {store:?}\n\n[profile.default.junit]\npath = \"junit.xml\"\n\
         report-skipped = \"all\"\n"
    );
    fs::write(&config, text).expect("a configuration");
    let mut command = cargo(&["nextest", "run"]);
    command
        .args(AS_ALL_TESTS)
        .args(["--filterset=package(kata-test)"])
        .args(["--no-fail-fast", "--color=never", "--status-level=all"])
        .args(["--final-status-level=none", "--failure-output=immediate"])
        .args(["--test", target, "--config-file"])
        .arg(&config)
        .args(args)
        .env("KATA_TEST_RECORD_DIR", records)
        .envs(variables.iter().copied());
    let Output {
        stdout,
        stderr,
        status,
    } = command.output().expect("cargo");
    let text = [stderr, stdout]
        .map(|bytes| String::from_utf8(bytes).expect("text"))
        .concat();
    let latest = records.join("latest");
    // A list that fails leaves no record.
    let recorded = if latest.exists() {
        read_all(&latest, &text)
    } else {
        String::new()
    };
    Finished {
        code: status.code(),
        recorded,
        junit: fs::read_to_string(store.join("default/junit.xml")).unwrap_or_default(),
        text,
    }
}

/// With the features of the whole workspace, a sample shares what the tests of the workspace are built of.
pub(crate) const AS_ALL_TESTS: [&str; 2] = ["--workspace", "--all-features"];

/// Cargo in this package, as if nothing else had ever been set.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        ["NEXTEST", "KATA_TEST", "RUST_TEST"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

fn read_all(folder: &Path, out: &str) -> String {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{error}: {out}"));
    files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .map(|path| fs::read_to_string(path).expect("records"))
        .collect()
}
