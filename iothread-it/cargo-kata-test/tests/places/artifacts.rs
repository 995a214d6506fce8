//! What tests leave in KATA_TEST_ARTIFACTS comes into the run's folder, from each place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use kata_test::kata_test;
use kata_test_runner::Record;

use crate::commands::{in_package, outcomes, target};
use crate::scratch_package::scratch_package;

/// What the tests of both binaries do.
const BODIES: &str = r#"
use std::path::PathBuf;
use std::{env, fs};

fn folder() -> PathBuf {
    PathBuf::from(env::var_os("KATA_TEST_ARTIFACTS").expect("the variable is set"))
}

fn leave(name: &str) {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Bytes that are no text, in several pieces.
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
    fs::write(path, bytes).unwrap();
}

fn in_vm() -> bool {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim() == "guest"
}

fn dies() {
    leave("file");
    std::process::abort();
}

fn hangs() {
    leave("file");
    loop {
        std::thread::park();
    }
}

fn leaves_odd_files() {
    leave("deep/er/file");
    leave(".hidden");
    std::os::unix::fs::symlink("/etc/passwd", folder().join("link")).unwrap();
}

fn crashes_the_guest() {
    leave("file");
    if in_vm() {
        fs::write("/proc/sysrq-trigger", "c").unwrap();
    }
}
"#;

const ANNOTATED: &str = r#"
#[kata_test::kata_test] fn leaves_nothing() { assert!(folder().is_dir()); }
#[kata_test::kata_test] fn leaves_odd() { leaves_odd_files(); }
#[kata_test::kata_test(non_root)] fn leaves_as_a_user() { leave("file"); }
#[kata_test::kata_test(retries = 1)] fn is_flaky() {
    leave("file");
    assert!(folder().to_str().unwrap().ends_with(",2"));
}
#[kata_test::kata_test] fn m_dies() { dies(); }
#[kata_test::kata_test(timeout = "1s")] fn m_hangs() { hangs(); }
#[kata_test::kata_test(own_machine)] fn z_crashes() { crashes_the_guest(); }
kata_test::main!();
"#;

const PLAIN: &str = r#"
#[test] fn leaves_nothing() { assert!(folder().is_dir()); }
#[test] fn leaves_odd() { leaves_odd_files(); }
#[test] fn m_dies() { dies(); }
#[test] fn m_hangs() { hangs(); }
#[test] fn z_crashes() { crashes_the_guest(); }
"#;

const CONFIG: &str = "\
[[tests]]
filter = 'binary(plain) & test(m_hangs)'
timeout = '1s'

[[tests]]
filter = 'binary(plain) & test(z_crashes)'
user = 'root'
";

/// The files of a test, and what is left out of them.
type Left = (Vec<String>, Vec<String>);

fn left(run: &Path, record: &Record) -> Result<Option<Left>> {
    let Some(artifacts) = &record.artifacts else {
        return Ok(None);
    };
    let mut files = Vec::new();
    let root = run.join(&artifacts.folder);
    let mut folders = Vec::new();
    if !artifacts.folder.is_empty() {
        folders.push(root.clone());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let data = path.symlink_metadata()?;
            if data.is_dir() {
                folders.push(path);
                continue;
            }
            files.push(path.strip_prefix(&root)?.display().to_string());
            if data.is_file() {
                let expected = (0..200_000_u32).map(|at| at as u8);
                ensure!(fs::read(&path)?.into_iter().eq(expected), "{path:?}");
            }
        }
    }
    files.sort();
    let sent = files.iter().filter(|file| *file != "link").count();
    assert_eq!(artifacts.files, sent as u64, "{record:#?}");
    Ok(Some((files, artifacts.left_out.clone())))
}

fn whole(files: &[&str]) -> Option<Left> {
    let files = files.iter().map(|file| (*file).to_owned());
    Some((files.collect(), Vec::new()))
}

#[kata_test(
    root,
    when = crate::artifacts_provided,
    serial = "places-packages",
    timeout = "15m"
)]
fn files_of_tests_come_back_from_every_place() -> Result<()> {
    let text = |tests: &str| format!("#![allow(dead_code)]\n{BODIES}{tests}");
    let package = scratch_package(&[
        ("tests/annotated.rs", &text(ANNOTATED)),
        ("tests/plain.rs", &text(PLAIN)),
        (".config/kata-test.toml", CONFIG),
    ])?;
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package.path())?;
    let output = command
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--everywhere", "--tests"])
        .args(["--places", "here,userns,vm:bookworm"])
        .output()?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    let run = target()?.join("kata-test/latest");
    let mut found: BTreeMap<(String, String, String), Option<Left>> = BTreeMap::new();
    for record in outcomes()? {
        let binary = record.binary.replace("scratch::", "");
        let key = (record.place.clone(), binary, record.test.clone());
        found.insert(key, left(&run, &record)?);
    }
    let of = |place: &str, binary: &str, test: &str| {
        let key = (place.to_owned(), binary.to_owned(), test.to_owned());
        let left = found.get(&key);
        left.unwrap_or_else(|| panic!("no {key:?} in {found:#?}"))
            .clone()
    };
    for place in ["here", "userns", "vm:bookworm"] {
        for binary in ["annotated", "plain"] {
            let is_vm = place.starts_with("vm:");
            assert_eq!(of(place, binary, "leaves_nothing"), None, "{place}");
            let (files, left_out) = of(place, binary, "leaves_odd").expect("files");
            let link = "link: it is a link or no regular file";
            match is_vm {
                true => {
                    assert_eq!(files, [".hidden", "deep/er/file"]);
                    assert_eq!(left_out, [link]);
                }
                false => assert_eq!(files, [".hidden", "deep/er/file", "link"]),
            }
            for test in ["m_dies", "m_hangs"] {
                assert_eq!(of(place, binary, test), whole(&["file"]), "{place} {test}");
            }
            if (place, binary) == ("userns", "plain") {
                // It needs root, and does not accept that of a user namespace.
                continue;
            }
            let crashed = of(place, binary, "z_crashes").expect("files");
            match is_vm {
                true => assert_eq!(crashed.1, ["the guest ended before all files were sent"]),
                false => assert_eq!(crashed.0, ["file"]),
            }
        }
        assert_eq!(of(place, "annotated", "is_flaky"), whole(&["file"]));
    }
    // On this host the package's folder may be closed to other users.
    let as_a_user = of("vm:bookworm", "annotated", "leaves_as_a_user");
    assert_eq!(as_a_user, whole(&["file"]));
    let page = fs::read_to_string(run.join("report.html"))?;
    let link = "href=\"./artifacts/vm~bookworm/scratch~~plain/m_dies%2C";
    assert!(page.contains(link), "{link}");
    let junit = fs::read_to_string(run.join("junit.xml"))?;
    assert!(junit.contains("value=\"artifacts/here/scratch~~annotated/is_flaky,2\""));
    Ok(())
}
