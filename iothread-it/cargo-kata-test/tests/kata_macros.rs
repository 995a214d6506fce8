//! Kata's macros for skips, from katatestutils, in a package as Kata's are: under cargo, under libtest as
//! another user, under nextest's variables, and with the runner.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use kata_test_runner::{Outcome, Record};

const MANIFEST: &str = r#"
[workspace]

[package]
name = "of-kata"
version = "0.1.0"
edition = "2018"

[dev-dependencies]
kata-test = { path = "CONSTRAINTS" }
test-utils = { package = "katatestutils", path = "CONSTRAINTS/katatestutils" }

[profile.dev]
debug = false
"#;

const TESTS: &str = r#"
#[cfg(test)]
mod tests {
    use test_utils::{
        assert_result, skip_if_kvm_unaccessable, skip_if_not_root, skip_if_root, skip_loop_by_user,
        skip_loop_if_not_root, skip_loop_if_root, TestUserType,
    };

    fn is_root() -> bool {
        std::env::var("IS_ROOT").unwrap() == "true"
    }

    #[test]
    fn by_root() {
        skip_if_not_root!();
        assert!(is_root());
    }

    #[test]
    fn by_others() {
        skip_if_root!();
        assert!(!is_root());
    }

    #[test]
    fn with_kvm() {
        skip_if_kvm_unaccessable!();
        assert!(std::path::Path::new("/dev/kvm").exists());
    }

    #[test]
    fn rows() {
        let mut ran = Vec::new();
        for (name, user) in [
            ("a", TestUserType::RootOnly),
            ("b", TestUserType::NonRootOnly),
            ("c", TestUserType::Any),
        ] {
            skip_loop_by_user!(name, user);
            ran.push(name);
        }
        assert_eq!(ran, [if is_root() { "a" } else { "b" }, "c"]);
    }

    #[test]
    fn rows_of_root() {
        for row in 0..2 {
            skip_loop_if_not_root!(row);
            assert!(is_root());
        }
    }

    #[test]
    fn rows_of_others() {
        for row in 0..2 {
            skip_loop_if_root!(format!("row {row}"));
            assert!(!is_root());
        }
    }

    #[test]
    fn rows_and_a_failure() {
        for row in 0..3 {
            skip_loop_by_user!(row, if row == 0 { TestUserType::RootOnly } else { TestUserType::NonRootOnly });
        }
        assert!(std::env::var_os("FAIL").is_none(), "as it should");
    }

    #[test]
    fn by_anyone() {
        assert_result!(Ok::<_, String>(5), Ok::<_, String>(5), "values");
        assert_result!(Err::<u8, _>("no"), Err::<u8, _>("no".to_owned()), "errors");
    }

    /// With the attribute, a macro is a skip of kata-test's own.
    #[kata_test::kata_test]
    fn annotated() {
        skip_if_not_root!();
        kata_test::measure("by_root", 1.0);
        assert!(is_root());
    }

    #[kata_test::kata_test]
    fn annotated_rows() {
        for row in 0..2 {
            skip_loop_if_root!(row);
        }
    }
}
"#;

/// The tests that are skipped for root, and for others, where KVM is not looked at.
const OF_OTHERS: [&str; 1] = ["tests::by_others"];
const OF_ROOT: [&str; 2] = ["tests::annotated", "tests::by_root"];

struct Package {
    folder: PathBuf,
    executable: PathBuf,
}

/// Built once, in a folder that any user can read.
static PACKAGE: LazyLock<Package> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("of-kata");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let constraints = workspace.join("constraints");
    let constraints = constraints.to_str().expect("a path");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let manifest = MANIFEST.replace("CONSTRAINTS", constraints);
    fs::write(folder.join("Cargo.toml"), manifest).expect("a file");
    fs::write(folder.join("src/lib.rs"), TESTS).expect("a file");
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
    let mut build = cargo(&folder);
    build.args(["test", "--no-run", "--message-format", "json"]);
    let built = output(&mut build);
    assert!(built.status.success());
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(!text.contains("unused"), "a warning: {text}");
    let executable = text.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "of_kata";
        let path = message["executable"].as_str().filter(|_| is_ours)?;
        Some(PathBuf::from(path))
    });
    Package {
        executable: executable.expect("an executable"),
        folder,
    }
});

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command as if nothing else had ever been set.
fn clean(program: impl AsRef<std::ffi::OsStr>, is_root: bool) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "KATA_TEST_", "NEXTEST"];
        if ours.iter().any(|prefix| text.starts_with(prefix)) || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    command.env("IS_ROOT", is_root.to_string());
    command
}

fn cargo(folder: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = clean(cargo, is_root());
    command
        .current_dir(folder)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "none");
    command
}

fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("the command");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A copy of the test binary in a folder where any user may write records.
struct Alone {
    folder: tempfile::TempDir,
}

impl Alone {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("records")).expect("a folder");
        // By another process: one that is forked meanwhile would keep the copy open for writing.
        let copy = folder.path().join("it");
        let copied = Command::new("cp")
            .arg(&PACKAGE.executable)
            .arg(copy)
            .status();
        assert!(copied.expect("cp").success());
        for (name, mode) in [("", 0o755), ("it", 0o755), ("records", 0o777)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path().join(name), permissions).expect("chmod");
        }
        Self { folder }
    }

    /// Runs the binary as a user without privileges.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(self.folder.path().join("it"), false);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KATA_TEST_RECORD_DIR", self.folder.path().join("records"))
            .env("KATA_TEST_RUN", "this");
        if is_root() {
            command.uid(65534).gid(65534);
        }
        command
    }

    fn records(&self) -> Vec<Record> {
        let files = fs::read_dir(self.folder.path().join("records/runs/this")).expect("a run");
        let files = files.map(|file| file.expect("a file").path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
        let text: String = files
            .map(|file| fs::read_to_string(file).expect("a file"))
            .collect();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("records")
    }
}

/// The tests that are recorded as skipped.
fn skipped(records: &[Record]) -> Vec<&str> {
    let skipped = records.iter().filter(|one| one.outcome == Outcome::Skipped);
    let mut names: Vec<&str> = skipped.map(|one| one.test.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn under_libtest_a_skip_is_printed_counted_and_recorded() {
    let alone = Alone::new();
    let ran = output(&mut alone.command(&["--skip", "kvm"]));
    assert_eq!(ran.status.code(), Some(0));
    let stderr = text(&ran.stderr);
    for line in [
        "test tests::by_root was SKIPPED (libtest prints it as \"ok\"): needs root: effective uid is ",
        "test tests::annotated was SKIPPED (libtest prints it as \"ok\"): needs root: ",
        "iteration a of test tests::rows was SKIPPED: needs root: effective uid is ",
        "iteration 1 of test tests::rows_of_root was SKIPPED: needs root: ",
        "2 tests reported as \"ok\" were skipped; unmet requirements: root (2)\n",
        "4 iterations were skipped, of tests that libtest prints as \"ok\" nevertheless\n",
    ] {
        assert!(stderr.contains(line), "{line:?} is missing in {stderr}");
    }
    let records = alone.records();
    assert_eq!(skipped(&records), OF_ROOT);
    let by_root = records.iter().find(|one| one.test == "tests::by_root");
    let by_root = by_root.expect("a record");
    assert_eq!(by_root.reasons[0].constraint, "root");
    assert_eq!(by_root.binary, "of-kata");
}

#[test]
fn cargo_test_counts_skips() {
    let mut command = cargo(&PACKAGE.folder);
    command.args(["test", "by_"]);
    let ran = output(&mut command);
    assert_eq!(ran.status.code(), Some(0));
    let one = match is_root() {
        true => "1 test reported as \"ok\" was skipped; unmet requirements: non_root (1)",
        false => "1 test reported as \"ok\" was skipped; unmet requirements: root (1)",
    };
    assert!(text(&ran.stderr).contains(one));
}

#[test]
fn a_skip_that_would_be_hidden_or_is_not_allowed_fails() {
    for (name, value, says) in [
        (
            "NEXTEST",
            "1",
            "Rust's own harness cannot show nextest a skip",
        ),
        (
            "KATA_TEST_MAY_SKIP",
            "kvm",
            "a skip for root is not allowed here",
        ),
        (
            "KATA_TEST_EXPECT",
            "root",
            "this host does not meet KATA_TEST_EXPECT",
        ),
    ] {
        let alone = Alone::new();
        let tests = ["tests::by_root", "tests::rows", "tests::rows_of_root"];
        let ran = output(alone.command(&tests).arg("--exact").env(name, value));
        assert_eq!(ran.status.code(), Some(101), "{name}");
        let shown = text(&ran.stdout);
        assert!(shown.contains("0 passed; 3 failed"), "{name}: {shown}");
        assert!(shown.contains(says), "{name}: {shown}");
    }
    let alone = Alone::new();
    let ran = output(alone.command(&["by_root"]).env("KATA_TEST_UNSKIP", "1"));
    assert_eq!(ran.status.code(), Some(101), "it is run");
}

#[test]
fn a_test_that_skips_iterations_can_fail() {
    let alone = Alone::new();
    let mut command = alone.command(&["tests::rows_and_a_failure", "--exact"]);
    let ran = output(command.env("FAIL", "1"));
    assert_eq!(ran.status.code(), Some(101));
    assert!(text(&ran.stdout).contains("as it should"));
}

#[test]
fn the_runner_has_outcomes_with_reasons() {
    let run = |arguments: &[&str]| {
        let mut command = clean(env!("CARGO_BIN_EXE_cargo-kata-test"), is_root());
        command
            .args(["kata-test", "test"])
            .args(arguments)
            .current_dir(&PACKAGE.folder)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", PACKAGE.folder.join("target"));
        let ran = output(&mut command);
        let outcomes = PACKAGE
            .folder
            .join("target/kata-test/latest/outcomes.jsonl");
        let lines = fs::read_to_string(outcomes).expect("outcomes");
        let records = lines.lines().map(serde_json::from_str);
        let records: Vec<Record> = records.collect::<Result<_, _>>().expect("records");
        (ran, records)
    };
    let (ran, records) = run(&["--skip", "kvm"]);
    assert_eq!(ran.status.code(), Some(0));
    let outcome = |test: &str| {
        let test = format!("tests::{test}");
        let mut of_test = records.iter().filter(|one| one.test == test);
        of_test
            .next_back()
            .unwrap_or_else(|| panic!("no record of {test}"))
    };
    let (own, others, rows_of_others) = match is_root() {
        true => (&OF_OTHERS[..], "non_root", "rows_of_others"),
        false => (&OF_ROOT[..], "root", "rows_of_root"),
    };
    for test in own {
        let one = outcome(test.trim_start_matches("tests::"));
        assert_eq!(one.outcome, Outcome::Skipped, "{test}");
        assert_eq!(one.reasons[0].constraint, others, "{test}");
    }
    assert_eq!(outcome("by_anyone").outcome, Outcome::Passed);
    if is_root() {
        let one = outcome("annotated_rows");
        assert_eq!((one.outcome, one.reasons.len()), (Outcome::Skipped, 2));
        assert_eq!(outcome("annotated").measures["by_root"], 1.0);
    }
    for test in ["rows", rows_of_others] {
        let one = outcome(test);
        assert_eq!(one.outcome, Outcome::SuspectedSkip, "{test}");
        assert_eq!(one.reasons[0].constraint, others, "{test}");
        let suspect = one.suspect.as_deref().unwrap_or_default();
        assert!(suspect.contains(", so the iteration "), "{suspect}");
    }
    let screen = text(&ran.stdout);
    assert!(
        screen.contains(&format!("needs {others}: effective uid is ")),
        "{screen}"
    );
    // The lines for the runner are no output of the test.
    assert!(!screen.contains("kata-test-record"), "{screen}");
    let (ran, records) = run(&["--suspects", "fail", "-E", "test(=tests::rows)"]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(records.len(), 1);
}
