//! Coverage of tests here, as root in a user namespace and in a VM, merged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kata_test::{Verdict, kata_test};

use crate::commands::in_package;
use crate::scratch_package::scratch_package;

/// Each function is reached in one of the places only.
const LIBRARY: &str = "
pub fn here() -> u32 {
    let one = 1;
    one
}

pub fn in_a_user_namespace() -> u32 {
    let two = 2;
    two
}

pub fn in_a_vm() -> u32 {
    let three = 3;
    three
}
";

const TESTS: &str = r#"
fn reaches_one() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_initial = ids.split_whitespace().last() == Some("4294967295");
    match (host.trim(), is_initial) {
        ("guest", _) => assert_eq!(scratch::in_a_vm(), 3),
        (_, false) => assert_eq!(scratch::in_a_user_namespace(), 2),
        (_, true) => assert_eq!(scratch::here(), 1),
    }
}
"#;

const ANNOTATED: &str = "
#[kata_test::kata_test] fn one() { reaches_one(); }
kata_test::main!();
";

const PLAIN: &str = "#[test] fn one() { reaches_one(); }\n";

/// Rust's own tools for profiles: the component `llvm-tools`.
fn tool(name: &str) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir"])
        .output()?;
    let libraries = PathBuf::from(String::from_utf8(printed.stdout)?.trim());
    Ok(libraries.with_file_name("bin").join(name))
}

pub(crate) fn has_tools() -> Verdict {
    const SOURCE: &str = "rustc --print target-libdir";
    match tool("llvm-profdata") {
        Ok(path) if path.is_file() => Verdict::met("llvm-profdata is there", SOURCE),
        Ok(path) => Verdict::unmet(format!("no {}", path.display()), SOURCE),
        Err(error) => Verdict::undetermined(error.to_string(), SOURCE),
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {error}");
    Ok(String::from_utf8(output.stdout)? + &error)
}

/// Returns the lines of the library that these profiles cover.
fn covered(profiles: &[PathBuf], executable: &str, folder: &Path) -> Result<Vec<String>> {
    let merged = folder.join("merged.profdata");
    let mut merge = Command::new(tool("llvm-profdata")?);
    merge
        .args(["merge", "-sparse", "-o"])
        .arg(&merged)
        .args(profiles);
    output(&mut merge)?;
    let mut show = Command::new(tool("llvm-cov")?);
    show.arg("show")
        .arg(executable)
        .arg("--instr-profile")
        .arg(&merged)
        .arg(folder.join("src/lib.rs"));
    let shown = output(&mut show)?;
    // Line, count and text.
    let is_covered = |line: &&str| {
        let mut parts = line.split('|').map(str::trim);
        let is_line = parts
            .next()
            .is_some_and(|number| number.parse::<u32>().is_ok());
        is_line && parts.next().is_some_and(|count| !matches!(count, "" | "0"))
    };
    let functions = ["here", "in_a_user_namespace", "in_a_vm"];
    let lines = shown.lines().filter(is_covered);
    let named = lines.filter_map(|line| {
        let name = |name: &&&str| line.contains(&format!("fn {name}("));
        functions.iter().find(name)
    });
    Ok(named.map(|name| (*name).to_owned()).collect())
}

#[kata_test(
    when = crate::artifacts_provided,
    when = has_tools,
    serial = "places-packages",
    timeout = "15m"
)]
fn merged_profiles_cover_what_each_place_alone_does_not() -> Result<()> {
    let package = scratch_package(&[
        ("src/lib.rs", LIBRARY),
        ("tests/annotated.rs", &[TESTS, ANNOTATED].concat()),
        ("tests/plain.rs", &[TESTS, PLAIN].concat()),
    ])?;
    let profiles = package.path().join("profiles");
    let instrumented = |program: &std::ffi::OsStr| -> Result<Command> {
        let mut command = in_package(program, package.path())?;
        command
            .env_remove("LD_LIBRARY_PATH")
            .env("RUSTFLAGS", "-Cinstrument-coverage")
            .env("LLVM_PROFILE_FILE", profiles.join("sample-%p-%m.profraw"));
        Ok(command)
    };
    for target in ["annotated", "plain"] {
        let mut command = instrumented(env!("CARGO_BIN_EXE_cargo-kata-test").as_ref())?;
        command
            .args(["kata-test", "test", "--everywhere", "--test", target])
            .args(["--places", "here,userns,vm:bookworm"]);
        println!("{}", output(&mut command)?);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = instrumented(&cargo)?;
        let built = output(command.args(["test", "--no-run", "--test", target]))?;
        let executable = built.split_once(&format!("tests/{target}.rs ("));
        let executable = executable.and_then(|(_, rest)| rest.split_once(')'));
        let (executable, _) = executable.with_context(|| built.clone())?;

        let mut by_place: [Vec<PathBuf>; 3] = Default::default();
        for entry in fs::read_dir(&profiles)? {
            let path = entry?.path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let place = match () {
                () if name.contains("-vm_bookworm-") => 2,
                () if name.contains("-userns-") => 1,
                () => 0,
            };
            by_place[place].push(path);
        }
        let folder = package.path();
        for (profiles, function) in by_place
            .iter()
            .zip(["here", "in_a_user_namespace", "in_a_vm"])
        {
            let alone = covered(profiles, executable, folder)?;
            assert_eq!(alone, [function], "{target}: {profiles:?}");
        }
        let merged = covered(&by_place.concat(), executable, folder)?;
        assert_eq!(merged, ["here", "in_a_user_namespace", "in_a_vm"]);
        fs::remove_dir_all(&profiles)?;
    }
    Ok(())
}
