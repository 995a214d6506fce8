//! The listings of `own-kernel.md`.
//!
//! CI configures the kernel of Debian's sources and does not compile it, which takes minutes: programs on PATH stand in
//! for `sudo apt install`, for what unpacks all of the sources, and for `make bzImage`. The errors that the page shows
//! are those of the runner for a made-up kernel with this configuration, and for a kernel of Debian. With
//! `KATA_TEST_ALLOW=kernel_build` nothing stands in for anything: packages are installed, the kernel is compiled, and
//! tests run on it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use nix::unistd::geteuid;

use crate::book::{Block, blocks, read};
use crate::folder;
use crate::pages::{Reader, has_parts, shell};

const PAGE: &str = "own-kernel.md";

/// The package with the sources, which the page names.
const SOURCES: &str = "linux-source-6.1";

/// The listings in their order.
struct Listings {
    sources: Block,
    build: Block,
    run: Block,
    place: Block,
    test: Block,
    lacking: Block,
    unknown: Block,
}

impl Listings {
    fn read() -> Result<Self> {
        let mut found = blocks(PAGE).into_iter();
        let mut next = || found.next().context("no listing");
        Ok(Self {
            sources: next()?,
            build: next()?,
            run: next()?,
            place: next()?,
            test: next()?,
            lacking: next()?,
            unknown: next()?,
        })
    }
}

/// A folder with the sources and the reader's package.
struct Build {
    folder: ScratchDir,
    listings: Listings,
}

impl Build {
    fn new() -> Result<Self> {
        let build = Self {
            folder: folder()?,
            listings: Listings::read()?,
        };
        fs::create_dir(build.at("bin"))?;
        Ok(build)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Puts a program on PATH, before all others.
    fn program(&self, name: &str, script: &str) -> Result<()> {
        let path = self.at("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nPATH=${{PATH#*:}}\n{script}"))?;
        Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
    }

    /// Runs commands in a folder, and returns what they print.
    fn run(&self, folder: &str, commands: &str) -> Result<String> {
        println!("{commands}");
        let bin = self.at("bin");
        let commands = format!("set -e\nPATH={}:$PATH\n{commands}", bin.display());
        let output = shell(&self.at(folder), &commands)?
            .env("APT_CONFIG", self.at("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()?;
        let printed = String::from_utf8(output.stdout)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{printed}{errors}");
        ensure!(output.status.success(), "{}", output.status);
        Ok(printed)
    }

    /// Follows the first two listings.
    fn build(&self) -> Result<()> {
        let Listings { sources, build, .. } = &self.listings;
        let commands: String = sources.commands().flat_map(|line| [line, "\n"]).collect();
        let printed = self.run("", &(commands + &build.text))?;
        let unset = |line: &&str| line.starts_with("CONFIG_") && line.ends_with(" is not set");
        let unset: Vec<&str> = printed.lines().filter(unset).collect();
        assert!(unset.is_empty(), "{unset:?}");
        Ok(())
    }

    /// Disables the options that the page names behind the last heading.
    fn disable_virtio(&self) -> Result<()> {
        let page = read(PAGE);
        let command = page.split_once("(`for option in ");
        let command = command.and_then(|(_, end)| end.split_once("`)"));
        let (command, _) = command.context("no command that disables virtio")?;
        let command = command.replace('\n', " ");
        self.run(
            SOURCES,
            &format!("for option in {command}\nmake olddefconfig"),
        )?;
        Ok(())
    }

    /// Checks the error for a kernel, by its path from the package.
    fn is_refused(&self, kernel: &str, listing: &Block) -> Result<()> {
        let command = format!("cargo kata-test run --kernel {kernel} -- true");
        let output = shell(&self.at("w"), &command)?.output()?;
        assert_eq!(output.status.code(), Some(125));
        has_lines(&String::from_utf8_lossy(&output.stderr), listing)
    }
}

/// Checks that a text has each line of a listing.
pub(crate) fn has_lines(text: &str, listing: &Block) -> Result<()> {
    for expected in listing.text.lines() {
        let is_there = text.lines().any(|line| has_parts(line, expected));
        ensure!(is_there, "{text}\nhas no line {expected}");
    }
    Ok(())
}

#[kata_test(
    when = crate::artifacts_provided,
    network = "user",
    command = "apt-get",
    command = "bison",
    command = "cc",
    command = "flex",
    command = "make",
    timeout = "10m"
)]
fn the_kernel_is_configured_and_a_lack_is_named() -> Result<()> {
    let build = Build::new()?;
    let mut download = Command::new("apt-get");
    download.current_dir(build.folder.path()).env("LC_ALL", "C");
    let downloaded = download.args(["download", SOURCES]).output()?;
    let errors = String::from_utf8_lossy(&downloaded.stderr);
    if errors.contains("Unable to locate package") {
        kata_test::skip!("the host's apt knows no {SOURCES}");
    }
    ensure!(downloaded.status.success(), "{errors}");
    build.run("", &format!("dpkg-deb -x {SOURCES}_*.deb root"))?;
    let root = build.at("root");
    build.program("sudo", "shift; exec apt-get --simulate \"$@\"\n")?;
    build.program(
        "tar",
        &format!(
            "[ \"$1\" = xf ] && exec tar xf {}$2 --wildcards '*/Kconfig*' '*/Makefile*' '*/Kbuild*' \
             '*/scripts/*' '*/configs/*'\n",
            root.display()
        ),
    )?;
    let make =
        "case \"$*\" in *bzImage) echo \"not compiled: $*\" ;; *) exec make \"$@\" ;; esac\n";
    build.program("make", make)?;
    build.build()?;

    Reader::new(PAGE, build.folder.path())?;
    build.disable_virtio()?;
    made_up_kernel(&build.at(SOURCES).join(".config"), &build.at("without"))?;
    build.is_refused("../without/bzImage", &build.listings.lacking)
}

/// Makes a file with the marks of a kernel: the entry for VMs, the release and the configuration.
fn made_up_kernel(configuration: &Path, folder: &Path) -> Result<()> {
    const ASSEMBLY: &str = r#"
.section .note.Xen, "a", @note
.long 4, 8, 18
.asciz "Xen"
.quad 0
.section .rodata
.ascii "Linux version 6.1.0 IKCFG_ST"
.incbin "config.gz"
.ascii "IKCFG_ED"
"#;
    fs::create_dir(folder)?;
    fs::write(folder.join("kernel.s"), ASSEMBLY)?;
    let packed = Command::new("gzip").arg("-c").arg(configuration).output()?;
    ensure!(packed.status.success(), "gzip: {}", packed.status);
    fs::write(folder.join("config.gz"), packed.stdout)?;
    let mut link = Command::new("cc");
    link.current_dir(folder).args([
        "-nostdlib",
        "-static",
        "-Wl,-e0",
        "kernel.s",
        "-o",
        "bzImage",
    ]);
    let linked = link.status()?;
    ensure!(linked.success(), "cc: {linked}");
    Ok(())
}

#[kata_test(
    opt_in = "kernel_build",
    root,
    when = crate::artifacts_provided,
    network = "user",
    serial = "places-packages",
    timeout = "60m"
)]
fn the_page_works_as_it_is_written() -> Result<()> {
    let build = Build::new()?;
    assert!(geteuid().is_root());
    build.program("sudo", "exec \"$@\"\n")?;
    fs::write(build.at("apt.conf"), "APT::Get::Assume-Yes \"true\";\n")?;
    build.build()?;

    let mut reader = Reader::new(PAGE, build.folder.path())?;
    let listings = &build.listings;
    reader.follow(&listings.run)?;
    let package = build.at("w");
    fs::create_dir(package.join(".config"))?;
    fs::write(package.join(".config/kata-test.toml"), &listings.place.text)?;
    reader.follow(&listings.test)?;

    build.disable_virtio()?;
    let make = "make -j\"$(nproc)\" bzImage";
    let image = "arch/x86/boot/bzImage";
    build.run(
        SOURCES,
        &format!("{make}\nmkdir ../without\ncp {image} ../without/"),
    )?;
    build.is_refused("../without/bzImage", &listings.lacking)?;
    let unknown =
        format!("scripts/config --disable IKCONFIG\nmake olddefconfig\n{make}\ncp {image} ..");
    build.run(SOURCES, &unknown)?;
    build.is_refused("../bzImage", &listings.unknown)
}
