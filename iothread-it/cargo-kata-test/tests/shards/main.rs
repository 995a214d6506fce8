//! An archive of tests, its parts on two machines of which one can run less than the other, and what
//! their records come to: all with the real nextest and the commands that a person types.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kata_test::kata_test;
use tempfile::TempDir;

kata_test::main!();

/// The sample: `t0` needs what machine `b` has not, and `t1` to `t7` need nothing.
const SAMPLE: [&str; 4] = ["--package=kata-test", "--", "--test", "shards"];

#[kata_test(command = "cargo-nextest", timeout = "600s")]
fn parts_by_hash_are_whole_and_others_are_not() {
    let packed = Packed::new();
    let whole = packed.run_parts("hash");
    let said = report(&whole, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("2 shards in"), "{}", said.stdout);
    assert!(!said.stdout.contains("lost"), "{}", said.stdout);
    // Each machine is a place.
    let outcomes = std::fs::read_to_string(whole.join("outcomes.jsonl")).expect("outcomes");
    assert_eq!(outcomes.lines().count(), 9, "{outcomes}");
    for machine in ["a", "b"] {
        assert!(
            outcomes.contains(&format!("\"place\":\"{machine}\"")),
            "{outcomes}"
        );
    }
    assert!(whole.join("report.html").is_file());

    for kind in ["slice", "count"] {
        let torn = packed.run_parts(kind);
        let said = report(&torn, &["--require-all"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        for test in ["t1", "t3", "t5", "t7"] {
            let lost = format!("lost: kata-test::shards {test}: it could run");
            assert!(said.stderr.contains(&lost), "{kind}: {}", said.stderr);
        }
        for test in ["t2", "t4", "t6"] {
            let repeated = format!("repeated: kata-test::shards {test}: it ran in 2 shards");
            assert!(said.stderr.contains(&repeated), "{kind}: {}", said.stderr);
        }
        assert!(
            said.stdout.contains("--partition hash:1/2"),
            "{}",
            said.stdout
        );
    }
}

#[kata_test]
fn without_nextest_its_absence_is_told() {
    let empty = tempfile::tempdir().expect("a folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // A cargo that has no further commands: they are found in PATH and in its home.
    let mut command = kata_test_command(&["archive"]);
    command
        .env("CARGO", cargo)
        .env("PATH", empty.path())
        .env("CARGO_HOME", empty.path());
    let said = Said::of(command);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("cargo install --locked cargo-nextest"),
        "{}",
        said.stderr
    );
}

/// An archive of the sample.
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
        let said = Said::of(command);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.stdout.contains("--partition hash:M/N"),
            "{}",
            said.stdout
        );
        Self { folder }
    }

    /// Runs a part on each machine, and returns the folder of their records.
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
            let said = Said::of(command);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        records
    }
}

fn report(records: &Path, arguments: &[&str]) -> Said {
    let mut command = kata_test_command(&["report", "--merge"]);
    command.arg(records).args(arguments);
    Said::of(command)
}

/// `cargo kata-test`, as cargo finds it.
fn kata_test_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
    command.args(arguments);
    in_workspace(&mut command);
    command
}

/// In this workspace, as if no runner ran this test.
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

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Said {
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
