//! An unusual workspace: targets with other names than their files, shared libraries that only cargo
//! finds, and a `main` that ignores its arguments.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{Outcome, Record};

use crate::commands::{in_package, outcomes};
use crate::folder;

/// The package's files.
const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        r#"
[workspace]

[package]
name = "scratch"
version = "0.1.0"
edition = "2024"

[dev-dependencies]
kata-test = { path = "KATA_TEST" }

[[test]]
name = "end-to-end"
path = "tests/e2e/main.rs"
harness = false

[[test]]
name = "foreign"
harness = false

[[example]]
name = "a-tool"
test = true
harness = false

[profile.dev]
debug = false
"#,
    ),
    (
        "build.rs",
        r#"
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let mut rustc = std::process::Command::new(std::env::var_os("RUSTC").unwrap());
    rustc.args(["--crate-type=cdylib", "--crate-name=shared", "shared.rs", "--out-dir", &out]);
    assert!(rustc.status().unwrap().success());
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=dylib=shared");
    println!("cargo:rerun-if-changed=shared.rs");
}
"#,
    ),
    (
        "shared.rs",
        "#[unsafe(no_mangle)] pub extern \"C\" fn seven() -> u32 { 7 }",
    ),
    (
        "src/lib.rs",
        r#"
unsafe extern "C" { safe fn seven() -> u32; }
pub fn eight() -> u32 { seven() + 1 }
#[cfg(test)]
mod tests { #[test] fn plain() {} }
"#,
    ),
    (
        "tests/e2e/main.rs",
        r#"
use kata_test::{Verdict, test};
#[test] fn anywhere() { assert_eq!(scratch::eight(), 8); }
#[kata_test::kata_test(kernel_lt = "6.5", when = always)] fn needs_an_old_kernel() {
    assert_eq!(scratch::eight(), 8);
}
fn always() -> Verdict { Verdict::met("always", "a test") }
kata_test::main!();
"#,
    ),
    (
        "examples/a-tool.rs",
        r#"
#[kata_test::kata_test] fn anywhere() {}
#[kata_test::kata_test(kernel_lt = "6.5")] fn needs_an_old_kernel() {}
kata_test::main!();
"#,
    ),
    (
        "tests/foreign.rs",
        r#"
use std::io::Write;
fn main() {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open("foreign-was-here").unwrap();
    writeln!(file, "it ran").unwrap();
    println!("all is well");
}
"#,
    ),
];

fn write_workspace(folder: &Path) -> Result<()> {
    let kata_test = concat!(env!("CARGO_MANIFEST_DIR"), "/../../constraints");
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, text.replace("KATA_TEST", kata_test))?;
    }
    let lock = crate::commands::example().join("Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock"))?;
    Ok(())
}

/// Runs the command and returns the outcomes.
fn run(folder: &Path, arguments: &[&str]) -> Result<Vec<Record>> {
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), folder)?;
    // What cargo has set for this program is not about that workspace.
    command.env_remove("LD_LIBRARY_PATH");
    let ran = command
        .args(["kata-test", "test"])
        .args(arguments)
        .output()?;
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success(), "it ended with {}", ran.status);
    outcomes()
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn every_test_of_an_unusual_workspace_has_an_outcome() -> Result<()> {
    let folder = folder()?;
    write_workspace(folder.path())?;
    let outcomes = run(folder.path(), &["--places", "here,vm:bookworm"])?;
    let mut found: Vec<(&str, &str)> = Vec::new();
    for outcome in &outcomes {
        assert_eq!(outcome.outcome, Outcome::Passed, "{outcome:#?}");
        if outcome.test == "needs_an_old_kernel" {
            // A host of that very kernel runs it itself.
            assert!(
                ["vm:bookworm", "here"].contains(&&*outcome.place),
                "{outcome:?}"
            );
        }
        found.push((&outcome.binary, &outcome.test));
    }
    assert_eq!(
        found,
        [
            ("scratch", "tests::plain"),
            ("scratch::end-to-end", "anywhere"),
            ("scratch::end-to-end", "needs_an_old_kernel"),
            ("scratch::example/a-tool", "anywhere"),
            ("scratch::example/a-tool", "needs_an_old_kernel"),
            ("scratch::foreign", "main"),
        ]
    );
    let runs = fs::read_to_string(folder.path().join("foreign-was-here"))?;
    assert_eq!(runs, "it ran\n", "it runs once");
    Ok(())
}
