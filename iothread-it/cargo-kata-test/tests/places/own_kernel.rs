//! Kernels of the user's own: here, the files and packages of a distribution's kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use serde_json::Value;

use crate::book::blocks;
use crate::commands::{in_package, outcomes};
use crate::own_kernel_page::has_lines;
use crate::run::RUNNER;
use crate::scratch_package::scratch_package;
use crate::{artifacts, folder, shared};

/// A kernel in the cache, which has what guests need as modules.
struct Files {
    image: PathBuf,
    modules: PathBuf,
    release: String,
}

impl Files {
    fn find() -> Result<Self> {
        let guest = artifacts(&shared::work_folder()?, "6.1")?.manifest.guest;
        let root = guest.kernel.ancestors().nth(2).context("no root")?;
        Ok(Self {
            modules: root.join("lib/modules").join(&guest.kernel_release),
            image: guest.kernel.clone(),
            release: guest.kernel_release,
        })
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs a program with the kernel that the options name.
fn run(folder: &Path, options: &[&str], program: &[&str]) -> Result<Output> {
    let mut command = in_package(RUNNER, folder)?;
    command.arg("run").args(options).arg("--").args(program);
    Ok(command.output()?)
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_kernel_is_named_by_files_or_packages() -> Result<()> {
    let folder = folder()?;
    fs::write(folder.path().join("Cargo.toml"), "[package]\n")?;
    let files = Files::find()?;
    let (image, modules) = (text(&files.image), text(&files.modules));

    let alone = run(folder.path(), &["--kernel", image], &["true"])?;
    assert_eq!(alone.status.code(), Some(125));
    let problem = String::from_utf8_lossy(&alone.stderr);
    let expected = "CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_CONSOLE; name their folder by `--modules`";
    assert!(problem.contains(expected), "{problem}");

    // Without its configuration it boots, and finds no driver. The page shows the error.
    let inside = folder.path().join("w");
    fs::create_dir(&inside)?;
    fs::write(inside.join("Cargo.toml"), "[package]\n")?;
    fs::copy(&files.image, folder.path().join("bzImage"))?;
    let unknown = run(&inside, &["--kernel", "../bzImage"], &["true"])?;
    assert_eq!(unknown.status.code(), Some(125));
    let problem = String::from_utf8_lossy(&unknown.stderr);
    let listing = blocks("own-kernel.md").pop().context("no listing")?;
    has_lines(&problem, &listing)?;

    let args = ["--kernel-args", "own.argument=1"];
    let options = [&["--kernel", image, "--modules", modules], &args[..]].concat();
    let output = run(
        folder.path(),
        &options,
        &["cat", "/proc/version", "/proc/cmdline"],
    )?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let is_ours = printed.contains(&files.release) && printed.ends_with(" own.argument=1\n");
    assert!(is_ours && output.status.success(), "{output:?}");

    let [first, second] = packages(&files, &folder)?;
    let options = ["--kernel", text(&first), "--modules", text(&second)];
    let output = run(folder.path(), &options, &["cat", "/proc/version"])?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains(&files.release) && output.status.success(),
        "{output:?}"
    );
    Ok(())
}

/// Packs the image and the modules of a kernel.
fn packages(files: &Files, folder: &ScratchDir) -> Result<[PathBuf; 2]> {
    let pack = |name: &str, from: &Path, to: &str| -> Result<PathBuf> {
        let root = folder.path().join(name);
        let inside = root.join(to);
        fs::create_dir_all(&inside)?;
        fs::create_dir(root.join("DEBIAN"))?;
        let control = "Version: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n";
        fs::write(
            root.join("DEBIAN/control"),
            format!("Package: {name}\n{control}"),
        )?;
        let copied = Command::new("cp")
            .arg("-a")
            .args([from, &inside])
            .status()?;
        let package = folder.path().join(format!("{name}.deb"));
        let mut command = Command::new("dpkg-deb");
        command.args(["-Znone", "-b"]).args([&root, &package]);
        ensure!(copied.success() && command.output()?.status.success());
        Ok(package)
    };
    Ok([
        pack("linux-image", &files.image, "boot")?,
        pack("linux-modules", &files.modules, "lib/modules")?,
    ])
}

/// The configuration, whose paths are relative to the workspace.
const CONFIGURATION: &str = r#"
[places.mine]
kernel = "vmlinuz"
modules = "MODULES"
kernel-args = "own.argument=2"
"#;

const TESTS: &str = r#"
use kata_test::kata_test;
#[kata_test(kernel_lt = "6.2")]
fn has_the_argument() {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    assert!(line.contains("own.argument=2"), "{line}");
}
kata_test::main!();
"#;

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn the_configuration_names_a_kernel() -> Result<()> {
    let files = Files::find()?;
    let configuration = CONFIGURATION.replace("MODULES", text(&files.modules));
    let folder = scratch_package(&[
        ("tests/annotated.rs", TESTS),
        (".config/kata-test.toml", &configuration),
    ])?;
    fs::copy(&files.image, folder.path().join("vmlinuz"))?;
    let command = |arguments: &[&str]| -> Result<Output> {
        let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), folder.path())?;
        command
            .env_remove("LD_LIBRARY_PATH")
            .arg("kata-test")
            .args(arguments);
        let output = command.output()?;
        println!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    };
    let planned = command(&["plan", "--everywhere", "--places", "mine", "--json"])?;
    let plan: Value = serde_json::from_slice(&planned.stdout)?;
    let chosen = &plan["tests"][0]["places"][0];
    assert_eq!(
        (&chosen["place"], &chosen["chosen"]),
        (&"mine".into(), &true.into())
    );

    let ran = command(&["test", "--everywhere", "--places", "mine"])?;
    ensure!(ran.status.success(), "{}", ran.status);
    let outcomes = outcomes()?;
    let places: Vec<&str> = outcomes.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places, ["mine"]);

    // The same kernel without the argument.
    let image = folder.path().join("vmlinuz");
    let ran = command(&[
        "test",
        "--kernel",
        text(&image),
        "--modules",
        text(&files.modules),
    ])?;
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("own"),
        "{ran:?}"
    );
    Ok(())
}
