//! Each test of a workspace has the outcome that `cargo test` gives it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kata_test_runner::{Outcome, Record};

/// The package's files. Every test ends its own process only: `cargo test` runs many in one.
const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        r#"
[workspace]

[package]
name = "equal-pkg"
version = "0.1.0"
edition = "2024"

[[example]]
name = "shown"
test = true

[[test]]
name = "in-order"
path = "tests/in_order/main.rs"

[profile.dev]
debug = false
"#,
    ),
    (
        "src/lib.rs",
        r#"
#[cfg(test)]
mod tests {
    use std::thread;

    #[test] fn passes() {}
    #[test] fn fails() { panic!("with a message"); }
    #[test] fn returns_an_error() -> Result<(), std::num::ParseIntError> {
        "x".parse::<u8>().map(drop)
    }
    #[test] fn returns_ok() -> Result<(), String> { Ok(()) }
    #[test] #[should_panic] fn panics_as_it_should() { panic!("right"); }
    #[test] #[should_panic] fn does_not_panic_as_it_should() {}
    #[test] #[should_panic(expected = "right")] fn panics_otherwise() { panic!("wrong"); }
    #[test] #[ignore] fn is_ignored() { panic!("never"); }
    #[test] #[ignore = "it is slow"] fn is_ignored_for_a_reason() {}
    #[test] fn waits_for_threads() {
        let threads: Vec<_> = (0..8).map(|number| thread::spawn(move || number * 2)).collect();
        let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 56);
    }
    #[test] fn a_thread_that_panics_is_joined() {
        thread::spawn(|| panic!("in a thread")).join().unwrap();
    }
    #[test] fn a_thread_that_panics_is_left() {
        let _ = thread::spawn(|| panic!("in a thread")).join();
    }
    #[test] fn overflows() { let two = vec![1, 2]; assert_eq!(two[two.len()], 3); }
    mod inner { #[test] fn passes() { println!("with output"); } }
}
"#,
    ),
    (
        "src/main.rs",
        "fn main() {}\n#[test] fn of_the_program() {}\n",
    ),
    (
        "src/bin/other.rs",
        "fn main() {}\n#[test] fn of_another_program() { assert_eq!(1, 2); }\n",
    ),
    (
        "tests/in_order/main.rs",
        r#"
mod inner;
#[test] fn finds_its_package() {
    assert!(std::fs::exists("src/lib.rs").unwrap());
    assert_eq!(env!("CARGO_PKG_NAME"), std::env::var("CARGO_PKG_NAME").unwrap());
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_other")).exists());
}
"#,
    ),
    (
        "tests/in_order/inner.rs",
        "#[test] fn passes() {}\n#[test] fn fails() { None::<u8>.unwrap(); }\n",
    ),
    (
        "examples/shown.rs",
        "fn main() {}\n#[test] fn of_an_example() {}\n",
    ),
];

/// Tests that end their process, and all others with it under `cargo test`: one binary for each.
const ENDINGS: [(&str, &str); 3] = [
    ("exits", "std::process::exit(3)"),
    ("aborts", "std::process::abort()"),
    (
        "is_killed",
        "let _ = std::process::Command::new(\"kill\").args([\"-9\", &std::process::id().to_string()]).status(); loop { std::thread::park() }",
    ),
];

fn write_package(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    for (name, text) in FILES {
        write(name, text);
    }
    for (name, body) in ENDINGS {
        write(
            &format!("tests/{name}.rs"),
            &format!("#[test] fn {name}() {{ {body} }}\n"),
        );
    }
}

/// Runs a program in the package, without what cargo has set for this one.
fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_this_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "KATA_TEST_", "NEXTEST"];
        let is_of_this_test = of_this_test.iter().any(|prefix| text.starts_with(prefix));
        if is_of_this_test || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .output()
        .expect("a program");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A target, as `cargo test` prints it, and a test.
type Test = (String, String);

/// Reads what `cargo test` prints: the target on standard error, `test NAME ... ok` on standard output.
fn outcomes_of_cargo(output: &Output) -> BTreeMap<Test, Outcome> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let targets = stderr.lines().filter_map(|line| {
        let (_, target) = line.trim().split_once("Running ")?;
        Some(
            target
                .split(" (")
                .next()?
                .trim_start_matches("unittests ")
                .to_owned(),
        )
    });
    let stdout = String::from_utf8_lossy(&output.stdout);
    let blocks = stdout.split("\nrunning ").skip(1);
    let mut found = BTreeMap::new();
    for (target, block) in targets.zip(blocks) {
        for line in block.lines() {
            let Some((name, end)) = line
                .strip_prefix("test ")
                .and_then(|line| line.split_once(" ... "))
            else {
                continue;
            };
            let name = name.trim_end_matches(" - should panic").to_owned();
            let outcome = match end {
                "ok" => Outcome::Passed,
                end if end.starts_with("ignored") => Outcome::Ignored,
                // The process has ended within the test.
                _ => Outcome::Failed,
            };
            found.insert((target.clone(), name), outcome);
        }
    }
    found
}

/// The binary's id for each target of the package.
fn target_of(binary: &str) -> String {
    match binary.strip_prefix("equal-pkg") {
        Some("") => "src/lib.rs".to_owned(),
        Some("::bin/equal-pkg") => "src/main.rs".to_owned(),
        Some("::bin/other") => "src/bin/other.rs".to_owned(),
        Some("::example/shown") => "examples/shown.rs".to_owned(),
        Some("::in-order") => "tests/in_order/main.rs".to_owned(),
        Some(rest) => format!("tests/{}.rs", rest.trim_start_matches("::")),
        None => panic!("{binary}"),
    }
}

#[test]
fn each_test_has_the_outcome_that_cargo_test_gives_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write_package(folder.path());
    let arguments = [
        "test",
        "--all-targets",
        "--no-fail-fast",
        "--",
        "--test-threads=1",
    ];
    let expected = outcomes_of_cargo(&run("cargo", &arguments, folder.path()));
    let ours = run(
        env!("CARGO_BIN_EXE_cargo-kata-test"),
        &["kata-test", "test"],
        folder.path(),
    );
    assert_eq!(ours.status.code(), Some(1));
    let latest = folder.path().join("target/kata-test/latest/outcomes.jsonl");
    let text = fs::read_to_string(latest).expect("outcomes");
    let found: BTreeMap<Test, Outcome> = text
        .lines()
        .map(|line| serde_json::from_str::<Record>(line).expect("a record"))
        .map(|one| ((target_of(&one.binary), one.test), one.outcome))
        .collect();
    assert_eq!(found, expected);
    let count = |outcome| expected.values().filter(|one| **one == outcome).count();
    let counts = [Outcome::Passed, Outcome::Failed, Outcome::Ignored].map(count);
    assert_eq!(counts, [10, 11, 2], "the test is about these");
}
