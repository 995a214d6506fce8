//! What an editor does with one test: run it, and run it in a debugger.

use kata_test::kata_test;

use crate::output::cargo;

/// The test of the sample.
const TEST: &str = "cases::passes::with_a_result";

/// The arguments of rust-analyzer's "Run Test": the package, the target, and the full name.
#[kata_test]
fn the_run_button_runs_one_test() {
    let args = ["test", "--package=kata-test", "--test=sample", "--"];
    let out = cargo(&[&args[..], &[TEST, "--exact", "--show-output"]].concat())
        .output()
        .expect("cargo");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    assert!(text.contains("running 1 test\n"), "{text}");
    assert!(text.contains(&format!("test {TEST} ... ok\n")), "{text}");
}

/// rust-analyzer's "Debug" builds the binary and gives it to a debugger, with the same arguments.
#[kata_test(command = "gdb")]
fn a_debugger_stops_in_the_test() {
    let args = ["test", "--package=kata-test", "--test=sample", "--no-run"];
    let built = cargo(&[&args[..], &["--message-format=json"]].concat())
        .output()
        .expect("cargo");
    let messages = String::from_utf8_lossy(&built.stdout);
    let binary = messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'))
        .map(|(path, _)| path)
        .next_back()
        .unwrap_or_else(|| panic!("no executable in\n{messages}"));
    let out = std::process::Command::new("gdb")
        .args(["--batch", "-nx", "-ex", "set breakpoint pending on"])
        .args(["-ex", &format!("break cases.rs:{}", line_of_the_body())])
        .args(["-ex", "run", "-ex", "backtrace 1", "-ex", "continue"])
        .args(["--args", binary, TEST, "--exact", "--in-process"])
        .env_remove("DEBUGINFOD_URLS")
        .output()
        .expect("gdb");
    let text = String::from_utf8_lossy(&out.stdout);
    let mut lines = text.lines();
    let top = lines.find(|line| line.starts_with("#0 "));
    assert!(
        top.is_some_and(|top| top.contains("with_a_result")),
        "{text}"
    );
    assert!(text.contains(&format!("test {TEST} ... ok\n")), "{text}");
}

/// Editors set a breakpoint by file and line.
fn line_of_the_body() -> usize {
    let source = include_str!("../samples/sample/cases.rs");
    let lines = source.lines();
    let before = lines.take_while(|line| !line.contains("fn with_a_result"));
    before.count() + 2
}
