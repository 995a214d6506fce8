//! A test fails if the kernel of its VM reports a bug meanwhile.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use kata_test_runner::{Outcome, Reason, ReasonKind};

use crate::commands::{in_package, outcomes};
use crate::outcome;
use crate::scratch_package::scratch_package;

/// What the tests of both binaries do.
const BODIES: &str = r##"
use std::ffi::c_char;
use std::fs;
use std::os::fd::AsRawFd;

/// The kernel's message about this begins with the thread's name.
fn logs(name: &str) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let written = thread.spawn(|| fs::write("/proc/sys/vm/drop_caches", "1"));
    written.unwrap().join().unwrap().unwrap();
}

unsafe extern "C" {
    fn mount(from: *const c_char, to: *const c_char, kind: *const c_char, flags: u64, data: *const c_char) -> i32;
    fn umount(path: *const c_char) -> i32;
    fn ioctl(fd: i32, request: u64, ...) -> i32;
}
const FIFREEZE: u64 = 0xc004_5877;
const FITHAW: u64 = 0xc004_5878;

/// Waits for a message of the kernel.
fn await_message(log: &mut impl std::io::Read, text: &str) {
    let mut buffer = [0; 8192];
    loop {
        let length = log.read(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..length]).contains(text) {
            return;
        }
    }
}

/// A thread writes to a frozen file system.
fn hangs() {
    use std::io::{Seek, SeekFrom};
    let disk = std::env::var("KATA_TEST_SCRATCH_DISK").unwrap();
    fs::write(&disk, fs::read("image").unwrap()).unwrap();
    fs::create_dir_all("/mnt").unwrap();
    let device = std::ffi::CString::new(disk).unwrap();
    let null = std::ptr::null();
    assert_eq!(unsafe { mount(device.as_ptr(), c"/mnt".as_ptr(), c"ext4".as_ptr(), 0, null) }, 0);
    let root = fs::File::open("/mnt").unwrap();
    assert_eq!(unsafe { ioctl(root.as_raw_fd(), FIFREEZE, 0) }, 0);
    let mut log = fs::File::open("/dev/kmsg").unwrap();
    log.seek(SeekFrom::End(0)).unwrap();
    fs::write("/proc/sys/kernel/hung_task_timeout_secs", "1").unwrap();
    let writer = std::thread::spawn(|| fs::write("/mnt/file", "text"));
    await_message(&mut log, " blocked for more than 1 seconds");
    assert_eq!(unsafe { ioctl(root.as_raw_fd(), FITHAW, 0) }, 0);
    writer.join().unwrap().unwrap();
    drop(root);
    assert_eq!(unsafe { umount(c"/mnt".as_ptr()) }, 0);
}
"##;

/// The tests: name, and what each does.
const TESTS: [(&str, &str); 4] = [
    ("a_warns", "logs(\"WARNING: made\")"),
    ("b_passes", "logs(\"harmless\")"),
    ("c_passes", ""),
    ("d_hangs", "hangs()"),
];

fn package() -> Result<ScratchDir> {
    let tests = |attribute: &str| {
        let tests = TESTS.map(|(name, body)| format!("#[{attribute}] fn {name}() {{ {body} }}\n"));
        format!("{BODIES}{}", tests.concat())
    };
    let annotated = tests("kata_test::kata_test(root, kernel_lt = \"6.2\")");
    let folder = scratch_package(&[
        ("tests/annotated.rs", &(annotated + "kata_test::main!();\n")),
        ("tests/plain.rs", &tests("test")),
        (
            ".config/kata-test.toml",
            "[[tests]]\nfilter = 'all()'\nuser = 'root'\n",
        ),
    ])?;
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext2"])
        .arg(folder.path().join("image"))
        .arg("1m")
        .status()?;
    ensure!(made.success(), "mke2fs: {made}");
    Ok(folder)
}

fn run(package: &Path, target: &str, more: &[&str]) -> Result<bool> {
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package)?;
    let output = command
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--places", "vm:bookworm"])
        .args(["--test", target])
        .args(more)
        .output()?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.status.success())
}

fn is_of_kernel(reason: &&Reason) -> bool {
    reason.kind == ReasonKind::Kernel
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "mke2fs",
    serial = "places-packages",
    timeout = "15m"
)]
fn a_test_fails_if_the_kernel_reports_a_bug() -> Result<()> {
    let package = package()?;
    for target in ["annotated", "plain"] {
        ensure!(!run(package.path(), target, &[])?, "{target} has failures");
        let found = outcomes()?;
        for (test, text) in [
            ("a_warns", "WARNING: made ("),
            ("d_hangs", " blocked for more than 1 seconds."),
        ] {
            let record = outcome(&found, test);
            assert_eq!(record.outcome, Outcome::Failed, "{record:#?}");
            let reason = record.reasons.iter().find(is_of_kernel);
            assert!(
                reason.is_some_and(|one| one.observed.contains(text)),
                "{record:#?}"
            );
            let messages = &record.kernel_messages;
            assert!(
                messages.iter().any(|one| one.contains(text)),
                "{messages:?}"
            );
        }
        for test in ["b_passes", "c_passes"] {
            let record = outcome(&found, test);
            assert_eq!(record.outcome, Outcome::Passed, "{record:#?}");
            assert!(record.kernel_messages.is_empty(), "{record:#?}");
        }
        ensure!(run(
            package.path(),
            target,
            &["--kernel-warnings", "allow"]
        )?);
        let found = outcomes()?;
        let record = outcome(&found, "a_warns");
        assert_eq!(record.outcome, Outcome::Passed, "{record:#?}");
        assert!(
            record.reasons.iter().any(|one| is_of_kernel(&one)),
            "{record:#?}"
        );
    }
    Ok(())
}
