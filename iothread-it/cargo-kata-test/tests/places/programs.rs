//! Programs in a guest: a shell and tools, and those of the host that tests require.

use anyhow::{Result, ensure};
use kata_test::kata_test;
use kata_test_runner::Outcome;

use crate::commands::{in_package, outcomes};
use crate::outcome;
use crate::scratch_package::scratch_package;

/// What the tests of both binaries do.
const BODIES: &str = r##"
fn shell(script: &str) -> String {
    let ran = std::process::Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

fn has_tools() {
    assert_eq!(shell("echo b a | tr ' ' '\n' | sort | head -n 1"), "a\n");
    assert_eq!(shell("/usr/bin/env printf %s x"), "x");
    assert!(shell("ip addr show lo").contains("inet6 ::1/128"));
    let script = std::env::temp_dir().join("script");
    std::fs::write(&script, "#!/bin/sh\necho \"$1\"\n").unwrap();
    shell(&format!("chmod 755 {0} && {0} y", script.display()));
}

/// The host's program, not the one of the guest's own with fewer options.
fn has_the_hosts_program() {
    let version = shell("mke2fs -V 2>&1");
    assert!(version.contains("Using EXT2FS Library"), "{version}");
    let image = std::env::temp_dir().join("image");
    shell(&format!("mke2fs -q -t ext4 {} 8m", image.display()));
}
"##;

#[kata_test(
    when = crate::artifacts_provided,
    command = "mke2fs",
    serial = "places-packages",
    timeout = "15m"
)]
fn a_guest_has_a_shell_tools_and_the_programs_that_tests_require() -> Result<()> {
    let annotated = "#[kata_test::kata_test(kernel_lt = \"6.2\")] fn tools() { has_tools() }\n\
         #[kata_test::kata_test(kernel_lt = \"6.2\", command = \"mke2fs\")]\n\
         fn program() { has_the_hosts_program() }\n\
         #[kata_test::kata_test(kernel_lt = \"6.2\", command = \"no-such-program\")]\n\
         fn absent() {}\n\
         kata_test::main!();\n";
    let plain = "#[test] fn tools() { has_tools() }\n\
         #[test] fn program() { has_the_hosts_program() }\n";
    let folder = scratch_package(&[
        ("tests/annotated.rs", &(BODIES.to_owned() + annotated)),
        ("tests/plain.rs", &(BODIES.to_owned() + plain)),
        (
            ".config/kata-test.toml",
            "[requirements]\n'test(program)' = 'command = \"mke2fs\"'\n",
        ),
    ])?;
    let ran = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), folder.path())?
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--places", "vm:bookworm"])
        .output()?;
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    let found = outcomes()?;
    for binary in ["annotated", "plain"] {
        for test in ["tools", "program"] {
            let id = format!("scratch::{binary}");
            let mut records = found.iter().filter(|one| one.binary == id);
            let record = records.find(|one| one.test == test);
            let record = record.expect("an outcome");
            assert_eq!(record.outcome, Outcome::Passed, "{record:#?}");
            assert_eq!(record.place, "vm:bookworm");
        }
    }
    assert_eq!(outcome(&found, "absent").outcome, Outcome::Nowhere);
    ensure!(ran.status.success(), "{}", ran.status);
    Ok(())
}
