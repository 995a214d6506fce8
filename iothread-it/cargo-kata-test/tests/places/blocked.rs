//! A program in a guest that no signal ends: cgroup v1's freezer stops it as a device that does not answer would.

use anyhow::Result;
use kata_test::kata_test;
use kata_test_runner::Outcome;

use crate::commands::{in_package, outcomes};
use crate::kind;
use crate::scratch_package::scratch_package;

const PLAIN: &str = r#"
#[test]
fn a_freezes() {
    let group = "/tmp/freezer/group";
    let script = "mkdir /tmp/freezer && mount -t cgroup -o freezer freezer /tmp/freezer && mkdir $0";
    let ran = std::process::Command::new("sh").args(["-c", script, group]).status().unwrap();
    assert!(ran.success(), "{ran}");
    std::fs::write(format!("{group}/cgroup.procs"), std::process::id().to_string()).unwrap();
    std::fs::write(format!("{group}/freezer.state"), "FROZEN").unwrap();
}
#[test]
fn b_passes() {}
"#;

const CONFIG: &str = "\
[[tests]]
filter = 'binary(plain)'
user = 'root'
timeout = '1s'
";

#[kata_test(
    when = crate::artifacts_provided,
    serial = "places-packages",
    timeout = "15m"
)]
fn a_program_that_cannot_be_killed_is_late_and_others_run() -> Result<()> {
    let folder = scratch_package(&[
        ("tests/annotated.rs", "kata_test::main!();"),
        ("tests/plain.rs", PLAIN),
        (".config/kata-test.toml", CONFIG),
    ])?;
    let ran = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), folder.path())?
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--places", "vm:bookworm"])
        .args(["--test", "plain"])
        .output()?;
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    let found = outcomes()?;
    assert_eq!(kind(&found, "a_freezes"), Outcome::TimedOut, "{found:#?}");
    assert_eq!(kind(&found, "b_passes"), Outcome::Passed, "{found:#?}");
    Ok(())
}
