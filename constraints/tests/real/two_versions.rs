//! Two versions of kata-test in one program: an error of the linker, or of the compiler.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{Finished, clean};

/// A version that is not compatible with this one.
const NEXT: &str = "99.0.0";

const SHARED: &str = "
mod this {
    #[kata_test::kata_test]
    fn of_this() {
        kata_test::require!(kernel_ge = \"2.0\");
    }
}
mod next {
    #[kata_test_next::kata_test(crate = ::kata_test_next, opt_in = \"never\")]
    fn of_next() {}
    #[kata_test_next::kata_test(crate = ::kata_test_next)]
    fn requires() {
        kata_test_next::require!(kernel_ge = \"2.0\");
    }
}
";

/// The attribute of one version with the path of the other.
const MIXED: &str = "
#[kata_test::kata_test(crate = ::kata_test_next)]
fn mixed() {}
kata_test_next::main!();
";

#[test]
fn two_versions_in_one_program_are_an_error() {
    // Not below this workspace, which cargo would take for that of the copy.
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    copy_as_next(&folder.join("next"));
    write_package(&folder.join("package"));

    for main in ["this", "next"] {
        let out = cargo(folder, &["test", "--no-run", "--test", main]);
        let symbol = "two_versions_of_kata_test_are_in_this_program";
        assert!(
            out.code != Some(0) && out.stderr.contains(symbol),
            "{out:?}"
        );
    }
    let out = cargo(folder, &["check", "--test", "mixed"]);
    let module = format!("__private_{}", env!("CARGO_PKG_VERSION").replace('.', "_"));
    assert!(
        out.code != Some(0) && out.stderr.contains(&format!("could not find `{module}`")),
        "{out:?}"
    );
}

/// Copies kata-test as another version, as a release would make it.
fn copy_as_next(to: &Path) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir_all(to).expect("a folder");
    let copy = Command::new("cp")
        .arg("-r")
        .args(["macros", "constraints"].map(|package| workspace.join(package)))
        .arg(to)
        .status();
    assert!(copy.expect("cp").success());
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).expect("a manifest");
    let members = manifest.lines().find(|line| line.starts_with("members"));
    let manifest = manifest
        .replace(
            members.expect("members"),
            "members = [\"macros\", \"constraints\", \"constraints/host\"]",
        )
        .replace(env!("CARGO_PKG_VERSION"), NEXT);
    fs::write(to.join("Cargo.toml"), manifest).expect("a manifest");
    for file in ["lib.rs", "registry/collected.rs"] {
        let file = to.join("constraints/src").join(file);
        let text = fs::read_to_string(&file).expect("a source file");
        let [this, next] = [env!("CARGO_PKG_VERSION"), NEXT]
            .map(|version| format!("__private_{}", version.replace('.', "_")));
        assert!(text.contains(&this), "{}", file.display());
        fs::write(file, text.replace(&this, &next)).expect("a source file");
    }
}

/// A package with two test programs of the same tests, each with the `main` of one version.
fn write_package(to: &Path) {
    fs::create_dir_all(to.join("tests")).expect("a folder");
    let this = env!("CARGO_MANIFEST_DIR");
    let manifest = format!(
        "[package]\nname = \"two-versions\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [workspace]\n\
         [lib]\npath = \"lib.rs\"\n\
         [dev-dependencies]\n\
         kata-test = {{ path = \"{this}\" }}\n\
         kata-test-next = {{ path = \"../next/constraints\", package = \"kata-test\" }}\n\
         [[test]]\nname = \"this\"\nharness = false\n\
         [[test]]\nname = \"next\"\nharness = false\n\
         [[test]]\nname = \"mixed\"\nharness = false\ntest = false\n"
    );
    let write = |file: &str, text: &str| fs::write(to.join(file), text).expect("a file");
    write("Cargo.toml", &manifest);
    write("lib.rs", "");
    write("tests/this.rs", &format!("{SHARED}kata_test::main!();\n"));
    write(
        "tests/next.rs",
        &format!("{SHARED}kata_test_next::main!();\n"),
    );
    write("tests/mixed.rs", MIXED);
    // The versions that are here already.
    let lock = Path::new(this).join("../Cargo.lock");
    fs::copy(lock, to.join("Cargo.lock")).expect("a lock file");
}

fn cargo(folder: &Path, args: &[&str]) -> Finished {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(args)
        .arg("--offline")
        .current_dir(folder.join("package"));
    clean(&mut command);
    command
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("KATA_TEST_RECORD_DIR", folder.join("records"));
    Finished::by(command)
}
