//! What a newcomer meets first, and the exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

#[path = "messages/first_hour.rs"]
mod first_hour;

/// Creates a workspace in a folder.
fn workspace(folder: &Path, library: &str) {
    fs::create_dir(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), library).unwrap();
    let manifest = "[package]\nname = \"new\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn kata_test(folder: &Path, arguments: &[&str]) -> Output {
    kata_test_with(folder, arguments, &folder.join("cache"))
}

fn kata_test_with(folder: &Path, arguments: &[&str], cache: &Path) -> Output {
    command(folder, arguments, cache).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str], cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kata-test"));
    command.arg("kata-test").args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("KATA_TEST") || name_text.starts_with("CARGO_") {
            command.env_remove(name);
        }
    }
    command.env("CARGO_TERM_COLOR", "never");
    command.env("KATA_TEST_CACHE", cache);
    command
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

/// Returns the exit code and both outputs, without the folder's path.
fn shown(folder: &Path, output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let code = output.status.code().unwrap_or(-1);
    format!("{out}{err}[exit code {code}]").replace(&*folder.to_string_lossy(), "FOLDER")
}

#[test]
fn the_texts_of_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    workspace(folder, "");
    let mut texts = String::new();
    let mut run = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["cache"].iter().chain(arguments).copied().collect();
        let text = shown(folder, &kata_test(folder, &arguments));
        texts += &format!("$ cargo kata-test {}\n{text}\n\n", arguments.join(" "));
    };
    run(&[]);
    run(&["path"]);
    run(&["prune"]);
    run(&["clear"]);
    for entry in ["packages/kernel-sid-0", "images/6.17-0"] {
        let entry = folder.join("cache").join(entry);
        fs::create_dir_all(&entry).unwrap();
        fs::write(entry.join("used"), "/home/me/project").unwrap();
    }
    run(&["clear", "packges"]);
    run(&["clear", "packages/kernel"]);
    run(&["prune", "--max", "lots"]);
    run(&["prune", "--max", "0"]);
    // A folder's size depends on the file system.
    let line = |line: &str| match line.strip_prefix("removed 1 entry, ") {
        Some(_) => "removed 1 entry, SIZE\n".to_owned(),
        None => format!("{line}\n"),
    };
    insta::assert_snapshot!(texts.lines().map(line).collect::<String>());
}

#[test]
fn a_cache_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "");
    let plan = ["plan", "--offline", "--places", "vm:bookworm"];
    let output = kata_test_with(folder.path(), &plan, Path::new("/proc/cache"));
    insta::assert_snapshot!(end(&output));
    let output = kata_test_with(folder.path(), &plan, Path::new("relative"));
    insta::assert_snapshot!(end(&output));
}

#[test]
fn what_an_empty_cache_lacks() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "");
    let qemu = folder.path().join("qemu");
    fs::write(&qemu, "#!/bin/sh\necho QEMU emulator version 9.0.0\n").unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let qemu = qemu.to_str().unwrap();
    let mut texts = String::new();
    for (place, qemu) in [
        ("vm:bookworm", "suite:bookworm"),
        ("vm:bookworm", qemu),
        ("vm:6.1", qemu),
        ("all", qemu),
    ] {
        let options = ["test", "--offline", "--places", place, "--qemu", qemu];
        let text = format!(
            "{place}, {qemu}: {}\n",
            end(&kata_test(folder.path(), &options))
        );
        texts += &text.replace(&*folder.path().to_string_lossy(), "FOLDER");
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn no_tests() {
    let folder = tempfile::tempdir().unwrap();
    workspace(folder.path(), "#[test] fn one() {}\n");
    let mut texts = String::new();
    let mut test = |options: &[&str]| {
        let options = [&["test", "--offline", "--lib"], options].concat();
        texts += &format!("{}\n", end(&kata_test(folder.path(), &options)));
    };
    test(&["two"]);
    test(&["two", "three", "--exact", "--ignored"]);
    test(&["one", "--skip", "o", "-E", "kind(test)", "-E", "none()"]);
    fs::create_dir(folder.path().join(".config")).unwrap();
    let config = "[selection]\ndefault-filter = \"not test(one)\"\n";
    fs::write(folder.path().join(".config/kata-test.toml"), config).unwrap();
    test(&[]);
    test(&["one"]);
    test(&["one", "--ignore-default-filter"]);
    fs::remove_file(folder.path().join(".config/kata-test.toml")).unwrap();
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();
    test(&[]);
    test(&["--include-ignored"]);
    test(&["--partition", "hash:1/2"]);
    insta::assert_snapshot!(texts);
}

/// Tests that run in one process are selected like those with a process each.
#[test]
fn default_filter() {
    let folder = tempfile::tempdir().unwrap();
    let tests = "#[test] fn quick() {}\n#[test] fn soak() {}\n#[test] #[ignore] fn slow() {}\n";
    workspace(folder.path(), tests);
    fs::create_dir(folder.path().join(".config")).unwrap();
    let config = "[selection]\ndefault-filter = \"not test(soak)\"\n";
    fs::write(folder.path().join(".config/kata-test.toml"), config).unwrap();
    let mut texts = String::new();
    for selection in [
        &[][..],
        &["quick"],
        &["--skip", "quick"],
        &["--ignored"],
        &["--include-ignored"],
        &["--ignore-default-filter"],
    ] {
        for process in [None, Some("--shared-process")] {
            let options = ["test", "--offline", "--lib"]
                .iter()
                .chain(&process)
                .chain(selection);
            let options: Vec<&str> = options.copied().collect();
            let ran = kata_test(folder.path(), &options);
            let output = String::from_utf8_lossy(&ran.stdout).into_owned();
            let lines = output.lines().filter_map(|line| {
                let of_libtest = line
                    .strip_prefix("test ")
                    .filter(|line| line.contains(" ... "));
                // After the duration.
                of_libtest.or_else(|| Some(line.split_once("] new ")?.1))
            });
            let mut lines: Vec<&str> = lines.collect();
            lines.sort_unstable();
            texts += &format!("{}\n  {}\n", options[2..].join(" "), lines.join(", "));
        }
    }
    insta::assert_snapshot!(texts);
}

/// The page of the book with the help of all commands.
struct BookPage(String);

impl BookPage {
    fn new(help: &str) -> Self {
        let title = "# The command line\n\nThe help of each command, as the program prints it.\n";
        let mut page = Self(title.to_owned());
        page.add("", help);
        page
    }

    fn add(&mut self, command: &str, help: &str) {
        let heading = format!("cargo kata-test {command}");
        let (heading, help) = (heading.trim_end(), help.trim_end());
        self.0 += &format!("\n## {heading}\n\n```text\n{help}\n```\n");
    }

    fn check(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints/docs/cli.md");
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            fs::write(&path, &self.0).unwrap();
        }
        let is_current = fs::read_to_string(path).unwrap() == self.0;
        assert!(
            is_current,
            "constraints/docs/cli.md is old; INSTA_UPDATE=always writes it"
        );
    }
}

#[test]
fn help_pages() {
    let folder = tempfile::tempdir().unwrap();
    let help = |command: &[&str]| {
        let arguments: Vec<&str> = command.iter().chain(&["--help"]).copied().collect();
        let output = kata_test(folder.path(), &arguments);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = |page: &str| -> Vec<String> {
        let list = page.split("Commands:\n").nth(1).unwrap_or_default();
        let lines = list.lines().take_while(|line| line.starts_with("  "));
        let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let names = names.filter(|name| !name.is_empty() && *name != "help");
        names.map(str::to_owned).collect()
    };
    let page = help(&[]);
    let names = commands(&page);
    assert!(names.len() > 5, "{page}");
    insta::assert_snapshot!("help", page);
    let mut book = BookPage::new(&page);
    for name in &names {
        let page = help(&[name]);
        let inner = commands(&page);
        book.add(name, &page);
        insta::assert_snapshot!(format!("help_{name}"), page);
        for one in inner {
            let page = help(&[name, &one]);
            book.add(&format!("{name} {one}"), &page);
            insta::assert_snapshot!(format!("help_{name}_{one}"), page);
        }
    }
    book.check();
}
