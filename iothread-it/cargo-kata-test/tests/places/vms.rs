//! Several VMs of a place at the same time.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use kata_test_runner::{Outcome, Record};

use crate::commands::{in_package, outcomes};
use crate::scratch_package::scratch_package;

/// Tests that keep one CPU busy.
const WORK: &str = r#"
fn work() {
    let mut state = 1u64;
    for _ in 0..STEPS_u64 {
        state = std::hint::black_box(state.wrapping_mul(6364136223846793005).wrapping_add(1));
    }
}
"#;

fn package() -> Result<ScratchDir> {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let plain = names.map(|name| format!("#[test] fn {name}() {{ work() }}\n"));
    let annotated = names.map(|name| {
        format!("#[kata_test::kata_test(kernel_lt = \"6.2\")] fn {name}() {{ work() }}\n")
    });
    let work = WORK.replace("STEPS", "400_000_000");
    let plain = work.clone() + &plain.concat();
    let annotated = work + &annotated.concat() + "kata_test::main!();\n";
    scratch_package(&[
        ("tests/plain.rs", &plain),
        ("tests/annotated.rs", &annotated),
        (".cargo/config.toml", "[profile.dev]\nopt-level = 2\n"),
    ])
}

fn run(package: &Path, target: &str, more: &[&str]) -> Result<(Output, Duration)> {
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package)?;
    command
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--places", "vm:bookworm"])
        .args(["--test", target])
        .args(more);
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}", output.status);
    Ok((output, took))
}

/// Returns the duration of all tests.
fn work(outcomes: &[Record]) -> Duration {
    let all_passed = outcomes.iter().all(|one| one.outcome == Outcome::Passed);
    assert!(all_passed && outcomes.len() == 8, "{outcomes:#?}");
    let total: f64 = outcomes.iter().map(|one| one.duration_ms).sum();
    Duration::from_secs_f64(total / 1e3)
}

/// On a busy machine two VMs need not be faster, so only that they run at the same time is checked: the tests
/// then take longer than the command.
#[kata_test(
    when = crate::artifacts_provided,
    cpus_ge = 2,
    mem_available_ge = "4GiB",
    serial = "places-packages",
    timeout = "15m"
)]
fn tests_run_in_two_vms_at_the_same_time() -> Result<()> {
    let package = package()?;
    for target in ["plain", "annotated"] {
        let (_, took) = run(package.path(), target, &["--vms", "1"])?;
        let work_of_one = work(&outcomes()?);
        println!("{target}: one VM: {took:?} for {work_of_one:?}");
        assert!(
            work_of_one < took,
            "{target}: one VM runs one test at a time"
        );
        // By the durations of that run, another VM is a gain.
        let (_, took) = run(package.path(), target, &[])?;
        let work_of_two = work(&outcomes()?);
        println!("{target}: two VMs: {took:?} for {work_of_two:?}");
        assert!(work_of_two > took, "{target}: {work_of_two:?} in {took:?}");
    }
    Ok(())
}
