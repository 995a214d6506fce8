//! The emulated CPU of a guest: its flags are those of a real one.

use std::process::Command;

use anyhow::{Result, ensure};
use kata_test::kata_test;

use crate::run::{package, run};

/// Prints whether `cmpxchg16b` changes flags other than the arithmetic ones, if the CPU has the instruction. QEMU
/// computes the flags of `sub` only when they are needed; up to then it keeps the operand, which 7.2 takes for the flags
/// here.
const PROGRAM: &str = r#"
#[repr(align(16))]
struct Pair([u64; 2]);

fn main() {
    if !std::arch::is_x86_feature_detected!("cmpxchg16b") {
        return println!("there is no cmpxchg16b");
    }
    let mut pair = Pair([1, 2]);
    let mut flags: u64 = 0;
    unsafe {
        std::arch::asm!(
            "push 0x202",
            "popfq",
            "jmp 2f",
            "2:",
            "sub {flags}, {operand}",
            "cmpxchg16b [{pair}]",
            "pushfq",
            "pop {flags}",
            "push 0x202",
            "popfq",
            pair = in(reg) pair.0.as_mut_ptr(),
            operand = in(reg) 0x0be2_d7b8_u64,
            flags = inout(reg) flags,
            inout("rax") 7_u64 => _,
            inout("rdx") 8_u64 => _,
            in("rcx") 0,
        );
    }
    let arithmetic = 0x8d5;
    match flags & !arithmetic {
        0x202 => println!("the other flags are unchanged"),
        _ => println!("the flags are {flags:#x}"),
    }
}
"#;

#[kata_test(when = crate::artifacts_provided, arch = "x86_64", not(kvm_hardware), serial = "places-packages", timeout = "15m")]
fn cmpxchg16b_changes_arithmetic_flags_only() -> Result<()> {
    let package = package()?;
    let source = package.path().join("program.rs");
    std::fs::write(&source, PROGRAM)?;
    let program = package.path().join("program");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition=2024", "-o"])
        .args([&program, &source]);
    ensure!(rustc.status()?.success(), "rustc fails");
    let output = run(package.path(), &[], &["./program"], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the program ended with {}: {errors}",
        output.status
    );
    let printed = String::from_utf8(output.stdout)?;
    let is_right = [
        "there is no cmpxchg16b\n",
        "the other flags are unchanged\n",
    ]
    .contains(&&*printed);
    assert!(is_right, "{printed}");
    Ok(())
}
