//! An archive of tests, run in shards on two machines that meet different requirements, and merged. Uses
//! cargo-nextest and the commands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kata_test::kata_test;
use tempfile::TempDir;

kata_test::main!();

/// The sample: only machine `a` meets the requirement of `t0`; `t1` to `t7` have none.
const SAMPLE: [&str; 4] = ["--package=kata-test", "--", "--test", "shards"];

#[kata_test(command = "cargo-nextest", timeout = "600s")]
fn hash_shards_are_complete_and_others_are_not() {
    let packed = Packed::new();
    let complete = packed.run_parts("hash");
    let ended = report(&complete, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("2 shards in"), "{}", ended.stdout);
    for output in [&ended.stdout, &ended.stderr] {
        assert!(!output.contains("lost"), "{output}");
    }
    // Each machine counts as a place.
    let outcomes = std::fs::read_to_string(complete.join("outcomes.jsonl")).expect("outcomes");
    assert_eq!(outcomes.lines().count(), 9, "{outcomes}");
    for machine in ["a", "b"] {
        assert!(
            outcomes.contains(&format!("\"place\":\"{machine}\"")),
            "{outcomes}"
        );
    }
    assert!(complete.join("report.html").is_file());

    for kind in ["slice", "count"] {
        let incomplete = packed.run_parts(kind);
        let ended = report(&incomplete, &["--require-all"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for test in ["t1", "t3", "t5", "t7"] {
            let lost = format!("lost: kata-test::shards {test}: it could run");
            assert!(ended.stderr.contains(&lost), "{kind}: {}", ended.stderr);
        }
        for test in ["t2", "t4", "t6"] {
            let repeated = format!("repeated: kata-test::shards {test}: it ran in 2 shards");
            assert!(ended.stderr.contains(&repeated), "{kind}: {}", ended.stderr);
        }
        assert!(
            ended.stdout.contains("--partition hash:1/2"),
            "{}",
            ended.stdout
        );
    }
}

#[kata_test]
fn missing_nextest_is_reported() {
    let empty = tempfile::tempdir().expect("a folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo finds further commands in PATH and in its home folder.
    let mut command = kata_test_command(&["archive"]);
    command
        .env("CARGO", cargo)
        .env("PATH", empty.path())
        .env("CARGO_HOME", empty.path());
    let ended = Ended::of(command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("cargo install --locked cargo-nextest"),
        "{}",
        ended.stderr
    );
}

/// The sample's archive.
struct Packed {
    folder: TempDir,
}

impl Packed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = kata_test_command(&["archive", "--out"]);
        command
            .arg(folder.path().join("tests.tar.zst"))
            .args(SAMPLE);
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stdout.contains("--partition hash:M/N"),
            "{}",
            ended.stdout
        );
        Self { folder }
    }

    /// Runs a shard on each machine, and returns the folder of their records.
    fn run_parts(&self, kind: &str) -> PathBuf {
        let records = self.folder.path().join(kind);
        for (number, machine) in [(1, "a"), (2, "b")] {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command
                .args([
                    "nextest",
                    "run",
                    "--no-fail-fast",
                    "--no-tests",
                    "pass",
                    "--archive-file",
                ])
                .arg(self.folder.path().join("tests.tar.zst"))
                .args(["--workspace-remap", "."])
                .arg(format!("--partition={kind}:{number}/2"));
            in_workspace(&mut command)
                .env("KATA_TEST_RECORD_DIR", records.join(machine))
                .env("MACHINE", machine);
            let ended = Ended::of(command);
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        records
    }
}

fn report(records: &Path, arguments: &[&str]) -> Ended {
    let mut command = kata_test_command(&["report", "--merge"]);
    command.arg(records).args(arguments);
    Ended::of(command)
}

/// Returns a command for `cargo-kata-test`.
fn kata_test_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
    command.args(arguments);
    in_workspace(&mut command);
    command
}

/// Sets the workspace as the directory, and removes the variables of nextest and of the runner.
fn in_workspace(command: &mut Command) -> &mut Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("NEXTEST")
            || name.starts_with("KATA_TEST")
            || name == "GITHUB_STEP_SUMMARY"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.current_dir(root.expect("a workspace"))
}

/// The output and exit code of a command.
#[derive(Debug)]
struct Ended {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Ended {
    fn of(mut command: Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("a process");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            stdout: text(stdout),
            stderr: text(stderr),
            code: status.code(),
        }
    }
}
