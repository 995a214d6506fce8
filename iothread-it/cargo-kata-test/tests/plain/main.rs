//! Plain tests of a workspace that does not know kata-test.

mod attempts;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kata_test_runner::{Outcome, Record};

/// The package's files.
const FILES: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        r#"
[workspace]

[package]
name = "scratch-pkg"
version = "0.1.0"
edition = "2024"

[[test]]
name = "end-to-end"
path = "tests/e2e/main.rs"

[[test]]
name = "foreign"
harness = false

[[example]]
name = "a-tool"
test = true

[profile.dev]
debug = false
"#,
    ),
    ("src/lib.rs", "//! No test: an empty binary is no error.\n"),
    (
        "tests/e2e/main.rs",
        r#"
use std::io::Write;

#[test] fn passes() { println!("quiet"); }
#[test] fn has_no_root() { eprintln!("skipping: not root"); }
#[test] fn skip_words_are_parsed() { eprintln!("skipping: not root"); }
#[test] #[ignore = "needs root"] fn is_ignored() {}
#[test] fn lacks_permission() {
    panic!("mount: {}", std::io::Error::from_raw_os_error(1));
}
#[test] fn hangs() { loop { std::thread::park(); } }
#[test] fn crashes() { std::process::abort(); }
#[test] #[should_panic] fn panics_as_it_should() { panic!("right"); }
#[test] fn prints_a_gigabyte() {
    let mut out = std::io::stdout().lock();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..1024 { out.write_all(&chunk).unwrap(); }
}
#[test] fn exits() { std::process::exit(0); }
#[test] fn has_its_environment() {
    assert!(std::env::current_dir().unwrap().join("Cargo.toml").exists());
    assert_eq!(std::env::var("CARGO_PKG_NAME").unwrap(), "scratch-pkg");
}
"#,
    ),
    (
        "tests/foreign.rs",
        "fn main() { println!(\"all is well\"); }\n",
    ),
    (
        "examples/a-tool.rs",
        "fn main() {}\n#[test] fn of_an_example() {}\n",
    ),
];

/// A workspace in a folder, with its target folder.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in FILES {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command("test", arguments)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "KATA_TEST_", "NEXTEST"];
            if ours.iter().any(|prefix| text.starts_with(prefix)) || text == "LD_LIBRARY_PATH" {
                command.env_remove(&name);
            }
        }
        let output = command
            .args(["kata-test", name])
            .args(arguments)
            .current_dir(self.0.path())
            .env("CARGO_TARGET_DIR", self.0.path().join("target"))
            .stdin(Stdio::null())
            .output()
            .expect("the command");
        println!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn report(&self, name: &str) -> String {
        let path = Path::new("target/kata-test/latest").join(name);
        fs::read_to_string(self.0.path().join(path)).expect("a report")
    }

    fn outcomes(&self) -> Vec<Record> {
        let text = self.report("outcomes.jsonl");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("records")
    }
}

#[test]
fn every_plain_test_has_an_outcome_of_its_own() {
    let scratch = Scratch::new();
    let output = scratch.run(&["--timeout", "5"]);
    assert_eq!(output.status.code(), Some(1));
    let outcomes = scratch.outcomes();
    let found: Vec<(&str, &str, Outcome)> = outcomes
        .iter()
        .map(|one| (one.binary.as_str(), one.test.as_str(), one.outcome))
        .collect();
    let e2e = |test, outcome| ("scratch-pkg::end-to-end", test, outcome);
    assert_eq!(
        found,
        [
            e2e("crashes", Outcome::Failed),
            e2e("exits", Outcome::SuspectedSkip),
            e2e("hangs", Outcome::TimedOut),
            e2e("has_its_environment", Outcome::Passed),
            e2e("has_no_root", Outcome::SuspectedSkip),
            e2e("is_ignored", Outcome::Ignored),
            e2e("lacks_permission", Outcome::Failed),
            e2e("panics_as_it_should", Outcome::Passed),
            e2e("passes", Outcome::Passed),
            e2e("prints_a_gigabyte", Outcome::Passed),
            e2e("skip_words_are_parsed", Outcome::Passed),
            (
                "scratch-pkg::example/a-tool",
                "of_an_example",
                Outcome::Passed
            ),
            ("scratch-pkg::foreign", "main", Outcome::Passed),
        ]
    );
    let of = |test: &str| {
        outcomes
            .iter()
            .find(|one| one.test == test)
            .expect("a test")
    };
    assert_eq!(of("crashes").signal.as_deref(), Some("SIGABRT"));
    assert_eq!(of("is_ignored").reason.as_deref(), Some("needs root"));
    let suspect = of("has_no_root").suspect.as_deref();
    assert_eq!(suspect, Some("skipping: not root"));
    let output_of = of("lacks_permission").output.as_deref().unwrap_or_default();
    assert!(output_of.contains("Operation not permitted"), "{output_of}");

    let screen = String::from_utf8_lossy(&output.stdout);
    let counts = "7 passed, 2 failed, 1 timed out, 2 suspected skip";
    let counts = counts.split(", ").all(|count| screen.contains(count));
    assert!(counts && screen.contains("13 in all"), "{screen}");
    assert!(!screen.contains("quiet"), "output of a passed test");
    assert!(output.stdout.len() < 100_000, "{}", output.stdout.len());
    let junit = scratch.report("junit.xml");
    assert_eq!(junit.matches("<skipped").count(), 3, "{junit}");
    let page = scratch.report("summary.md");
    assert!(page.contains("| suspected skip | 2 |"), "{page}");
}

#[test]
fn filters_ignored_tests_and_suspects_are_options() {
    let scratch = Scratch::new();
    let ran = scratch.run(&["--include-ignored", "is_ignored", "has_no"]);
    assert!(ran.status.success(), "suspects are no errors by default");
    let outcomes = scratch.outcomes();
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|one| (one.test.as_str(), one.outcome))
        .collect();
    assert_eq!(
        kinds,
        [
            ("has_no_root", Outcome::SuspectedSkip),
            ("is_ignored", Outcome::Passed),
            ("main", Outcome::Passed),
        ]
    );
    let ran = scratch.run(&["--suspects", "fail", "has_no"]);
    assert_eq!(ran.status.code(), Some(1));
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(
        error.contains("error: 1 suspected skip: add a place"),
        "{error}"
    );
    let ran = scratch.run(&[
        "--suspects",
        "fail",
        "--suspect-pattern",
        "^quiet$",
        "has_no",
    ]);
    assert!(ran.status.success(), "another pattern");
    let ran = scratch.run(&["--suspect-pattern", "(", "has_no"]);
    assert_eq!(ran.status.code(), Some(2), "an invalid pattern");
}

#[test]
fn expressions_parts_and_the_configuration_select_tests() {
    let scratch = Scratch::new();
    let folder = scratch.0.path().join(".config");
    fs::create_dir(&folder).expect("a folder");
    let configuration = r#"
[requirements]
"test(=passes)" = 'kernel_ge = "99.0"'
"ignored(needs root)" = 'kernel_ge = "2.6"'

[[tests]]
filter = "test(hangs)"
timeout = "1s"

[suspects]
policy = "fail"
"#;
    fs::write(folder.join("kata-test.toml"), configuration).expect("a file");
    let kinds = |scratch: &Scratch| -> Vec<(String, Outcome)> {
        let outcomes = scratch.outcomes().into_iter();
        outcomes.map(|one| (one.test, one.outcome)).collect()
    };
    let pair = |name: &str, outcome| (name.to_owned(), outcome);
    let chosen =
        "binary(end-to-end) & (test(=passes) | test(hangs) | ignored(root) | test(has_no_root))";
    let ran = scratch.run(&["-E", chosen]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(
        kinds(&scratch),
        [
            pair("hangs", Outcome::TimedOut),
            pair("has_no_root", Outcome::SuspectedSkip),
            pair("is_ignored", Outcome::Passed),
            pair("passes", Outcome::Skipped),
        ]
    );
    let outcomes = scratch.outcomes();
    let passes = outcomes.iter().find(|one| one.test == "passes");
    let reason = &passes.expect("a test").reasons[0];
    assert_eq!(reason.constraint, "kernel >= 99.0");
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(error.contains("error: 1 suspected skip"), "{error}");

    let mut all = Vec::new();
    let of_part = |part: &str| {
        let few = ["--skip", "hangs", "--skip", "gigabyte", "--partition", part];
        scratch.run(&few);
        kinds(&scratch)
    };
    for part in ["hash:1/2", "hash:2/2"] {
        all.extend(of_part(part));
    }
    all.sort();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 11, "each test is in one part: {names:?}");
}

#[test]
fn a_plan_counts_plain_tests_and_is_available_as_json() {
    let scratch = Scratch::new();
    let folder = scratch.0.path().join(".config");
    fs::create_dir(&folder).expect("a folder");
    let configuration = "[requirements]\n\"test(=passes)\" = 'kernel_ge = \"99.0\"'\n";
    fs::write(folder.join("kata-test.toml"), configuration).expect("a file");
    let shown = scratch.command("plan", &[]);
    assert!(shown.status.success());
    let plan = scratch.command("plan", &["--json", "--everywhere", "pass", "is_ignored"]);
    let text = String::from_utf8_lossy(&plan.stdout);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let kernel = document["places"][0]["kernel"].as_str().expect("a kernel");
    let observed = format!("kernel is {kernel}");
    let shown = String::from_utf8_lossy(&shown.stdout).replace(kernel, "KERNEL");
    insta::assert_snapshot!("plan", shown);
    let text = text.replace(&observed, "kernel is KERNEL");
    insta::assert_snapshot!("plan_json", text.replace(kernel, "KERNEL"));
}

impl Scratch {
    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

#[test]
fn a_time_limit_of_the_command_line_replaces_one_of_the_configuration() {
    let scratch = Scratch::new();
    let configuration = "[[tests]]\nfilter = 'all()'\ntimeout = '1h'\n";
    scratch.write(".config/kata-test.toml", configuration);
    scratch.write(
        "tests/foreign.rs",
        "fn main() { println!(\"it hangs\"); loop { std::thread::park() } }\n",
    );
    let ran = scratch.run(&["--timeout", "1s", "-E", "test(hangs) | binary(foreign)"]);
    assert_eq!(ran.status.code(), Some(1));
    let outcomes = scratch.outcomes();
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|one| (one.test.as_str(), one.outcome))
        .collect();
    let expected = [("hangs", Outcome::TimedOut), ("main", Outcome::TimedOut)];
    assert_eq!(kinds, expected);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("it hangs"));
}

#[test]
fn a_filter_that_matches_nothing_is_an_error_unless_accepted() {
    let scratch = Scratch::new();
    for (option, code, text) in [
        (
            "--no-tests=fail",
            4,
            "error: no tests to run: `-E 'test(~no_such_test)'` selects none; `--no-tests=pass` accepts this",
        ),
        ("--no-tests=warn", 0, "warning: no tests to run"),
        ("--no-tests=pass", 0, ""),
    ] {
        let ran = scratch.run(&[option, "-E", "test(no_such_test)"]);
        assert_eq!(ran.status.code(), Some(code), "{option}");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(stderr.contains(text), "{option}: {stderr}");
    }
    assert_eq!(
        scratch.run(&["-E", "none()"]).status.code(),
        Some(4),
        "the default"
    );
}

/// The tests overlap if they may: each waits until the other has begun, or for a second.
#[test]
fn tests_that_may_not_be_parallel_run_one_after_the_other_and_without_a_runner() {
    let scratch = Scratch::new();
    scratch.write(
        ".cargo/config.toml",
        "[target.'cfg(all())']\nrunner = 'false'\n",
    );
    scratch.write(
        "tests/pair.rs",
        r#"
use std::time::{Duration, Instant};
fn meets(own: &str, other: &str) -> bool {
    std::fs::write(own, "").unwrap();
    let began = Instant::now();
    let mut met = false;
    while !met && began.elapsed() < Duration::from_secs(1) {
        met = std::path::Path::new(other).exists();
    }
    std::fs::remove_file(own).unwrap();
    met
}
#[test] fn alone_one() { assert!(!meets("alone_one", "alone_two")); }
#[test] fn alone_two() { assert!(!meets("alone_two", "alone_one")); }
"#,
    );
    let only = ["--test-threads", "2", "-E", "test(alone)"];
    let ran = scratch.run(&only);
    assert_eq!(ran.status.code(), Some(1), "they are parallel by default");
    let warning = String::from_utf8_lossy(&ran.stderr);
    let expected = "warning: tests run without the runner of [target.cfg(all())] in ";
    assert!(warning.contains(expected), "{warning}");
    let configuration = "[[tests]]\nfilter = 'test(alone)'\nparallel = false\n";
    scratch.write(".config/kata-test.toml", configuration);
    assert!(scratch.run(&only).status.success());
}
