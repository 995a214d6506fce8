//! Tests that leave files, for `tests/real/artifacts.rs` to run.

use std::path::{Path, PathBuf};
use std::{env, fs};

use kata_test::kata_test;

kata_test::main!();

fn folder() -> PathBuf {
    PathBuf::from(env::var_os("KATA_TEST_ARTIFACTS").expect("the variable is set"))
}

fn write(name: &str, text: &str) {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

mod names {
    #[kata_test::kata_test]
    fn of_one() {
        super::write("file", "one");
    }
}

#[kata_test]
fn names_of_one() {
    write("file", "another");
}

#[kata_test]
fn writes_nothing() {
    assert!(folder().is_dir());
}

#[kata_test(retries = 1)]
fn is_flaky() {
    write("deep/er/file", "text");
    let first = folder().display().to_string().ends_with(",1");
    assert!(!first, "the first attempt fails");
}

#[kata_test]
fn aborts() {
    write("file", "text");
    std::process::abort();
}

#[kata_test(timeout = "200ms")]
fn hangs() {
    write("file", "text");
    loop {
        std::thread::park();
    }
}

#[kata_test(non_root)]
fn as_a_user() {
    write("private/file", "text");
    std::os::unix::fs::symlink("/etc/passwd", folder().join("link")).expect("a link");
    assert!(Path::new("/").is_dir());
}
