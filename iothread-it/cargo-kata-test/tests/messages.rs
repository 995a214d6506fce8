//! What a newcomer meets first, and the exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Creates a workspace in a folder.
fn workspace(folder: &Path, library: &str) {
    fs::create_dir(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), library).unwrap();
    let manifest = "[package]\nname = \"new\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn kata_test(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
    command.arg("kata-test").args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("KATA_TEST") || name_text.starts_with("CARGO_") {
            command.env_remove(name);
        }
    }
    command.env("CARGO_TERM_COLOR", "never");
    command.output().unwrap()
}

/// Returns the last error message and the exit code. Cargo and rustc print theirs before.
fn end(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|line| line.starts_with("error"));
    format!("{} ({:?})", last.unwrap_or_default(), output.status.code())
}

#[test]
fn a_folder_without_a_workspace() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["test", "plan"] {
        let output = kata_test(folder.path(), &[command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("could not find `Cargo.toml`"), "{text}");
        let expected = "error: cargo metadata failed with exit status: 101 (Some(101))";
        assert_eq!(end(&output), expected, "{text}");
    }
}

#[test]
fn a_workspace_that_does_not_build() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "fn broken() -> u8 { \"text\" }\n");
    let output = kata_test(folder.path(), &["plan", "--offline"]);
    let expected = "error: cargo test --no-run failed with exit status: 101 (Some(101))";
    assert_eq!(end(&output), expected);
}

#[test]
fn the_manifest_may_be_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "fn broken() -> u8 { \"text\" }\n");
    let other = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    let plan = ["plan", "--offline", "--manifest-path", manifest];
    let output = kata_test(other.path(), &plan);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("mismatched types"), "{text}");
}

#[test]
fn a_mistake_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "");
    fs::create_dir(folder.path().join(".config")).unwrap();
    let file = folder.path().join(".config/kata-test.toml");
    fs::write(file, "[suspects]\npolice = 'fail'\n").unwrap();
    let end = end(&kata_test(folder.path(), &["plan", "--offline"]));
    let expected = ".config/kata-test.toml:2: [suspects] has an unknown key `police`; \
                    did you mean `policy`? (Some(1))";
    assert!(
        end.starts_with("error: ") && end.ends_with(expected),
        "{end}"
    );
}

#[test]
fn a_place_that_nothing_defines() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "");
    let end = end(&kata_test(
        folder.path(),
        &["plan", "--offline", "--places", "there"],
    ));
    assert!(
        end.starts_with("error: unknown place \"there\": expected here"),
        "{end}"
    );
}
