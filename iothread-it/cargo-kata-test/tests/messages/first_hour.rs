//! The errors of a first hour: each has its cause, its effect, and what to do.
//!
//! Scope: what a machine or an archive lacks. `places` has those that need a mount namespace, kata-test's `ui` those of
//! the attribute.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{command, end, workspace};

/// An archive without any kernel or QEMU, whose suite is `stable`.
fn archive() -> PathBuf {
    let fixture = "../vm/src/artifacts/apt/fixture";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    fixture.canonicalize().unwrap()
}

/// Returns a program that is QEMU, as far as its version.
fn qemu(folder: &Path) -> String {
    program(folder, "qemu", "echo QEMU emulator version 9.0.0")
}

fn program(folder: &Path, name: &str, script: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A folder with a workspace, and what commands print there.
struct Attempts {
    folder: tempfile::TempDir,
    texts: String,
}

impl Attempts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        workspace(folder.path(), "");
        let texts = String::new();
        Self { folder, texts }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `plan` with these arguments, and keeps the error.
    fn plan(&mut self, arguments: &[&str], prepare: impl FnOnce(&mut Command)) {
        let all = [&["plan"], arguments].concat();
        let mut command = command(self.path(), &all, &self.path().join("cache"));
        prepare(&mut command);
        let error = end(&command.output().unwrap());
        self.texts += &format!("$ cargo kata-test {}\n{error}\n\n", all.join(" "));
    }

    /// Returns the texts without paths of this machine.
    fn texts(&self) -> String {
        let folder = self.path().to_string_lossy();
        let archive = archive().to_string_lossy().into_owned();
        let text = self.texts.replace(&*folder, "FOLDER");
        text.replace(&archive, "ARCHIVE")
    }
}

/// Names an archive by our variables.
fn with_archive(command: &mut Command, url: &str) {
    command
        .env("KATA_TEST_ARCHIVE", url)
        .env("KATA_TEST_ARCHIVE_SUITES", "stable")
        .env("KATA_TEST_ARCHIVE_KEYRING", archive().join("key.asc"));
}

/// Makes a folder with all programs of PATH but one.
fn path_without(folder: &Path, program: &str) {
    fs::create_dir(folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(&path).filter_map(|entry| fs::read_dir(entry).ok());
    for entry in folders.flatten().flatten() {
        let name = entry.file_name();
        if name != program && name != "qemu-system-x86_64" {
            // The first one counts.
            let _ = symlink(entry.path(), folder.join(name));
        }
    }
}

#[test]
fn no_apt() {
    let mut attempts = Attempts::new();
    let path = attempts.path().join("bin");
    path_without(&path, "apt-get");
    let without = |command: &mut Command| {
        command.env("PATH", &path);
    };
    let qemu = qemu(attempts.path());
    attempts.plan(&["--places", "vm:6.1"], without);
    attempts.plan(&["--places", "vm:6.1", "--qemu", "suite:trixie"], without);
    attempts.plan(&["--places", "all", "--qemu", &qemu], without);
    insta::assert_snapshot!(attempts.texts());
}

#[test]
fn no_qemu() {
    let mut attempts = Attempts::new();
    let path = attempts.path().join("bin");
    path_without(&path, "qemu-system-x86_64");
    let without = |command: &mut Command| {
        command.env("PATH", &path);
    };
    attempts.plan(&["--places", "vm:6.1", "--qemu", "host"], without);
    let old = program(
        attempts.path(),
        "old-qemu",
        "echo QEMU emulator version 5.2.0",
    );
    attempts.plan(&["--places", "vm:6.1", "--qemu", &old], without);
    insta::assert_snapshot!(attempts.texts());
}

/// Nobody listens at the port.
#[test]
fn a_proxy_that_does_not_answer() {
    let mut attempts = Attempts::new();
    let proxy = |command: &mut Command| {
        with_archive(command, "http://archive.invalid");
        command.env("http_proxy", "http://127.0.0.1:1");
        command.env_remove("no_proxy").env_remove("NO_PROXY");
    };
    let qemu = qemu(attempts.path());
    attempts.plan(&["--places", "vm:6.1", "--qemu", "suite:stable"], proxy);
    attempts.plan(&["--places", "vm:6.1", "--qemu", &qemu], proxy);
    insta::assert_snapshot!(attempts.texts());
}

#[test]
fn an_archive_that_lacks_what_is_asked_for() {
    let mut attempts = Attempts::new();
    let url = format!("copy:{}", archive().display());
    let named = |command: &mut Command| with_archive(command, &url);
    let qemu = qemu(attempts.path());
    for place in ["vm:6.2", "vm:stable", "all"] {
        attempts.plan(&["--places", place, "--qemu", &qemu], named);
    }
    for choice in ["suite:stable", "suite:sid"] {
        attempts.plan(&["--places", "vm:6.1", "--qemu", choice], named);
    }
    attempts.plan(&["--places", "vm:6.1"], |command| {
        command.env("KATA_TEST_ARCHIVE", "https://archive.example");
    });
    insta::assert_snapshot!(attempts.texts());
}

/// As in a container: apt has sources and no lists. They are those of another distribution, whose suites have no
/// role in a Debian archive, and it has other packages.
#[test]
fn a_host_of_another_distribution_without_package_lists() {
    let mut attempts = Attempts::new();
    let sources = attempts.path().join("sources.list");
    let archive = archive().display().to_string();
    let source = format!("deb [signed-by={archive}/key.asc] copy:{archive} stable main\n");
    fs::write(&sources, source).unwrap();
    let config = attempts.path().join("apt.conf");
    let text = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::State::lists \"/nonexistent\";\n",
        sources.display()
    );
    fs::write(&config, text).unwrap();
    let other = |command: &mut Command| {
        command.env("APT_CONFIG", &config);
    };
    let qemu = qemu(attempts.path());
    attempts.plan(&["--places", "vm:6.1", "--qemu", &qemu], other);
    attempts.plan(&["--places", "vm:6.1", "--qemu", "suite:sid"], other);
    fs::write(&sources, "").unwrap();
    attempts.plan(&["--places", "vm:6.1", "--qemu", "suite:sid"], other);
    insta::assert_snapshot!(attempts.texts());
}

/// A workspace whose tests use kata-test, in a target directory that is kept.
struct Tests {
    folder: tempfile::TempDir,
}

impl Tests {
    /// A test target with this manifest entry and source.
    fn new(target: &str, source: &str) -> Self {
        Self::with_dependency("kata-test = { path = \"KATA_TEST\" }\n", target, source)
    }

    fn with_dependency(dependency: &str, target: &str, source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kata_test = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints");
        let kata_test = kata_test.canonicalize().unwrap();
        let manifest = format!(
            "[package]\nname = \"NAME\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dev-dependencies]\n\
             {dependency}[[test]]\nname = \"first\"\n{target}"
        );
        let manifest = manifest.replace("KATA_TEST", &kata_test.to_string_lossy());
        let manifest = manifest.replace("NAME", &Self::name());
        fs::create_dir_all(folder.path().join("tests")).unwrap();
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.path().join("tests/first.rs"), source).unwrap();
        // These versions have been downloaded: this workspace is built with them.
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        fs::copy(lock, folder.path().join("Cargo.lock")).unwrap();
        Self { folder }
    }

    /// The package is named for the test: packages of one name would share what is built in one target directory.
    fn name() -> String {
        let thread = std::thread::current();
        let test = thread.name().unwrap().rsplit("::").next();
        test.unwrap().replace('_', "-")
    }

    /// Runs `cargo kata-test test`.
    fn run(&self, options: &[&str]) -> Output {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-hour");
        let folder = self.folder.path();
        let options = [&["test", "--offline"], options].concat();
        let mut command = command(folder, &options, &folder.join("cache"));
        // What cargo has set for this program is not about that workspace.
        command.env_remove("LD_LIBRARY_PATH");
        command
            .env("CARGO_TARGET_DIR", target)
            // Smaller files: the packages are built once, and only a debugger needs more.
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .output()
            .unwrap()
    }

    /// Runs `cargo kata-test test`, which fails, and returns its output on standard error.
    fn errors(&self) -> String {
        let output = self.run(&[]);
        assert!(!output.status.success());
        let folder = self.folder.path();
        let text = String::from_utf8(output.stderr).unwrap();
        let text = text.replace(&*folder.to_string_lossy(), "FOLDER");
        text.replace(&Self::name(), "new")
    }
}

/// The compiler's own words, which it may change.
#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

const TEST: &str = "#[kata_test::kata_test(root)]\nfn needs_root() {}\n";

#[test]
fn harness_false_without_main() {
    let errors = Tests::new("harness = false\n", TEST).errors();
    assert_says(
        &errors,
        &["error[E0601]: `main` function not found in crate `first`"],
    );
}

/// A test whose requirement is unmet is not failed by options that select it.
#[test]
fn selected_tests_may_lack_something() {
    let source = "use kata_test::kata_test;\n#[kata_test(kernel_ge = \"99.1\")]\nfn newer() {}\n\
                  #[kata_test]\nfn any() {}\n#[kata_test]\nfn soak() {}\nkata_test::main!();\n";
    let tests = Tests::new("harness = false\n", source);
    let config = "[selection]\ndefault-filter = \"not test(soak)\"\n";
    fs::create_dir(tests.folder.path().join(".config")).unwrap();
    fs::write(tests.folder.path().join(".config/kata-test.toml"), config).unwrap();
    let counts = |options: &[&str]| {
        let output = tests.run(options);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let counts = text.lines().find(|line| line.starts_with("tests: "));
        counts.unwrap().to_owned()
    };
    assert_eq!(
        [
            counts(&[]),
            counts(&["-E", "all()", "--ignore-default-filter"]),
        ],
        [
            "tests: 1 passed, 1 skipped, 0 nowhere, 2 in all",
            "tests: 2 passed, 1 skipped, 0 nowhere, 3 in all",
        ]
    );
}

/// A `main` of one's own would run no test, and pass.
#[test]
fn harness_false_with_another_main() {
    let source = format!("{TEST}fn main() {{}}\n");
    let errors = Tests::new("harness = false\n", &source).errors();
    let errors = errors.lines().filter(|line| line.starts_with("error"));
    let errors: Vec<&str> = errors.collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn the_attribute_without_the_dependency() {
    let errors = Tests::with_dependency("", "", TEST).errors();
    assert_says(&errors, &["E0433", "unlinked crate `kata_test`"]);
}

#[test]
fn a_feature_that_does_not_exist() {
    let dependency = "kata-test = { path = \"KATA_TEST\", features = [\"tokyo\"] }\n";
    let errors = Tests::with_dependency(dependency, "", TEST).errors();
    assert_says(
        &errors,
        &["`kata-test`", "`tokyo`", "does not have that feature"],
    );
}

/// The lines of the check of an old nextest.
#[test]
fn an_old_nextest() {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "cargo-nextest", "echo cargo-nextest 0.9.92");
    let mut command = command(
        folder.path(),
        &["facts", "--doctor"],
        &folder.path().join("cache"),
    );
    let path = std::env::var_os("PATH").unwrap();
    let first = [folder.path().to_owned()].into_iter();
    let path = std::env::join_paths(first.chain(std::env::split_paths(&path))).unwrap();
    let output = command.env("PATH", path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| !line.contains("cargo-nextest"));
    let lines: Vec<&str> = lines.take(3).collect();
    let folder = folder.path().to_string_lossy();
    insta::assert_snapshot!(lines.join("\n").replace(&*folder, "FOLDER"));
}

/// Each error of the documentation is in a snapshot, or in a test of the compiler's words.
#[test]
fn every_documented_error_is_provoked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "tests/snapshots",
        "tests/messages",
        "tests/messages/snapshots",
        "tests/places/snapshots",
        "../../constraints/tests/ui/without_tokio",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let texts: String = files
        .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
        .collect();
    let page = fs::read_to_string(root.join("../../constraints/docs/errors.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let errors: Vec<&str> = rows
        .map(|row| row.split(" | ").nth(1).unwrap())
        .map(|cell| match cell.strip_prefix("``") {
            Some(text) => text.split("``").next().unwrap().trim(),
            None => cell.split('`').nth(1).unwrap(),
        })
        .collect();
    assert!(errors.len() > 10, "{errors:?}");
    for error in errors {
        assert!(texts.contains(error), "{error}");
    }
}
