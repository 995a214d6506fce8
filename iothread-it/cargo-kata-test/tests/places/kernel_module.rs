//! A test that loads a module which warns. The module is compiled with the headers of the guest's kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Store;
use kata_test::{Verdict, kata_test};
use kata_test_runner::{Outcome, ReasonKind};

use crate::commands::{in_package, outcomes, target};
use crate::outcome;
use crate::scratch_package::scratch_package;

/// The folders of include files, in the configured headers and in the common ones.
const CONFIGURED: [&str; 4] = [
    "arch/x86/include/generated",
    "include",
    "arch/x86/include/generated/uapi",
    "include/generated/uapi",
];
const COMMON: [&str; 4] = [
    "arch/x86/include",
    "include",
    "arch/x86/include/uapi",
    "include/uapi",
];

/// What kbuild includes first.
const FIRST: [&str; 3] = ["compiler-version.h", "kconfig.h", "compiler_types.h"];

/// What kbuild passes for this architecture, except for what makes code safer or smaller.
const OPTIONS: &str = "-c -nostdinc -O2 -std=gnu11 -w -D__KERNEL__ -DMODULE -DKBUILD_MODNAME=\"warn\" \
     -D__KBUILD_MODNAME=kmod_warn -m64 -mcmodel=kernel -mno-red-zone -mno-sse -fno-pic -fno-pie \
     -fno-stack-protector -fcf-protection=none -fno-strict-aliasing";

/// The body of the test.
const BODY: &str = r#"
fn loads() {
    use std::os::fd::AsRawFd;
    unsafe extern "C" {
        fn syscall(number: i64, ...) -> i64;
    }
    const FINIT_MODULE: i64 = 313;
    // The module has no checksums of what it uses, and the archive may have newer headers than the kernel.
    const IGNORE_MODVERSIONS_AND_VERMAGIC: i32 = 1 | 2;
    let module = std::fs::File::open("warn.ko").unwrap();
    let loaded = unsafe { syscall(FINIT_MODULE, module.as_raw_fd(), c"".as_ptr(), IGNORE_MODVERSIONS_AND_VERMAGIC) };
    assert_eq!(loaded, 0, "{}", std::io::Error::last_os_error());
}
"#;

/// Finds the headers of bookworm's kernel: the configured ones, and those of all of its flavours.
fn headers() -> Result<[PathBuf; 2]> {
    let packages = Store::of_user()?.base().join("packages");
    let of_set = |name: &str| name.starts_with("headers-bookworm-");
    for entry in packages.read_dir()?.flatten() {
        if !entry.file_name().to_str().is_some_and(of_set) {
            continue;
        }
        let sources = entry.path().join("root/usr/src");
        let folders = sources.read_dir()?.flatten().map(|folder| folder.path());
        let folders: Vec<_> = folders.collect();
        let named = |end: &str| {
            let is_named = |path: &&PathBuf| path.to_string_lossy().ends_with(end);
            folders.iter().find(is_named).cloned()
        };
        if let (Some(configured), Some(common)) = (named("-cloud-amd64"), named("-common")) {
            return Ok([configured, common]);
        }
    }
    anyhow::bail!("no headers in {}", packages.display())
}

/// Met if the headers are provided.
fn headers_provided() -> Verdict {
    match headers() {
        Ok(_) => Verdict::met("the headers of bookworm's kernel", "the cache"),
        Err(error) => Verdict::unmet(
            format!("{error:#}; `cargo xtask plan` provides them"),
            "the cache",
        ),
    }
}

/// Compiles the module.
fn compile(to: &Path) -> Result<()> {
    let [configured, common] = headers()?;
    let mut command = Command::new("cc");
    command.args(OPTIONS.split_whitespace());
    for (common_folder, configured_folder) in COMMON.iter().zip(CONFIGURED) {
        let folders = [
            common.join(common_folder),
            configured.join(configured_folder),
        ];
        command.args(folders.iter().flat_map(|folder| [Path::new("-I"), folder]));
    }
    for file in FIRST {
        command
            .arg("-include")
            .arg(common.join("include/linux").join(file));
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/places/warn.c");
    let compiled = command.arg(source).arg("-o").arg(to).status();
    ensure!(compiled.context("cc cannot be run")?.success(), "cc failed");
    Ok(())
}

#[kata_test(
    when = crate::artifacts_provided,
    when = headers_provided,
    command = "cc",
    serial = "places-packages",
    timeout = "15m"
)]
fn a_warning_of_a_module_fails_the_test_that_loads_it() -> Result<()> {
    let annotated = "#[kata_test::kata_test(root, kernel_lt = \"6.2\")] fn warns() { loads() }\n\
         kata_test::main!();\n";
    let package = scratch_package(&[
        ("tests/annotated.rs", &(BODY.to_owned() + annotated)),
        (
            "tests/plain.rs",
            &format!("{BODY}#[test] fn warns() {{ loads() }}\n"),
        ),
        (
            ".config/kata-test.toml",
            "[[tests]]\nfilter = 'all()'\nuser = 'root'\n[requirements]\n'all()' = 'kernel_lt = \"6.2\"'\n",
        ),
    ])?;
    compile(&package.path().join("warn.ko"))?;
    let ran = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package.path())?
        .env_remove("LD_LIBRARY_PATH")
        .args(["kata-test", "test", "--places", "vm:bookworm"])
        .output()?;
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(1));
    let found = outcomes()?;
    for binary in ["scratch::annotated", "scratch::plain"] {
        let of_binary: Vec<_> = found
            .iter()
            .filter(|one| one.binary == binary)
            .cloned()
            .collect();
        let record = outcome(&of_binary, "warns");
        assert_eq!(record.outcome, Outcome::Failed, "{record:#?}");
        let mut reasons = record.reasons.iter();
        let reason = reasons.find(|reason| reason.kind == ReasonKind::Kernel);
        let reason = &reason.expect("a reason of the kernel").observed;
        assert!(
            reason.starts_with("WARNING: CPU: ") && reason.ends_with("[warn]"),
            "{reason}"
        );
        let has = |text| record.kernel_messages.iter().any(|message| message == text);
        assert!(has("made by a test"), "{record:#?}");
    }
    let report = target()?.join("kata-test/latest/junit.xml");
    let report = std::fs::read_to_string(report)?;
    assert_eq!(report.matches("made by a test").count(), 2, "{report}");
    Ok(())
}
