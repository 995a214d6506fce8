//! Plain tests in a warm VM, each in a process of its own: what a test costs beyond its own time.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use kata_test_runner::{Binary, LocalSession, Place, Session, StopToken, UserKind};

use super::figure::{Figure, Goal, Peer};
use super::interleave::since;
use super::{Bench, Setup, userns};
use cargo_kata_test::cli::places::VmPlaces;
use guest_vm::artifacts::KernelChoice;

use crate::provision;

/// The limit for a small binary, in milliseconds.
const LIMIT_MS: f64 = 30.0;

/// The number of tests in each binary. They do nothing.
const TESTS: usize = 250;

pub(super) const BENCHES: &[Bench] = &[Bench::new("plain: a test in a warm VM", |setup| {
    let mut figures = measure(setup, "2 MiB", 3 << 18)?;
    figures.extend(measure(setup, "20 MiB", 75 << 18)?);
    Ok(figures)
})];

/// Measures tests of a binary with this much further data.
fn measure(setup: &Setup, size: &str, padding: usize) -> Result<Vec<Figure>> {
    let folder = setup.folder.join(format!("plain-{padding}"));
    let binary = compile(&folder, padding)?;
    let mut places = provision::vm_places(
        &VmPlaces {
            vms: vec!["bookworm".parse::<KernelChoice>()?.into()],
            ..VmPlaces::default()
        },
        false,
    )?;
    let place = places.first_mut().expect("the place that was named");
    let restore = Instant::now();
    let session = place.open(&binary, UserKind::Unprivileged, StopToken::NEVER);
    let mut guest = session.map_err(|error| anyhow!("{error}"))?;
    eprintln!(
        "  {size}: the session was open after {:.0} ms",
        since(restore)
    );
    let mut here = LocalSession::new(&binary);
    // The first reads the binary from its disk.
    eprintln!(
        "  {size}: the first test took {:.0} ms",
        run(&mut *guest, 0)?
    );
    let (mut next_guest, mut next_here) = (1.., 1..);
    let [guest, here] = setup.rounds().interleave([
        &mut || run(&mut *guest, next_guest.next().expect("a number")),
        &mut || run(&mut here, next_here.next().expect("a number")),
    ])?;
    let figure = |what, peer| {
        let name = format!("plain: a test of a {size} binary in a warm VM, {what}");
        Figure::new(name, "ms", guest.clone(), peer)
    };
    let limit = Peer::limit("the limit of 30 ms", LIMIT_MS)?;
    let goal = (padding < 1 << 20).then_some(Goal::AtMost(1.0));
    Ok(vec![
        figure("emulated", Peer::new("the same on this host", here)),
        Figure {
            goal,
            ..figure("limit", limit)
        },
    ])
}

/// Runs a test and returns its duration in milliseconds.
fn run(session: &mut dyn Session, number: usize) -> Result<f64> {
    let name = format!("t{}", number % TESTS);
    let arguments = ["--exact", &name, "--nocapture"].map(OsStr::new);
    let (took, output) = userns::run(session, &arguments)?;
    ensure!(output.contains("1 passed"), "{output}");
    Ok(took)
}

/// Compiles a package's test binary with rustc.
fn compile(folder: &Path, padding: usize) -> Result<Binary> {
    let executable = folder.join("target/debug/deps/plain");
    let package = folder.join("package");
    fs::create_dir_all(executable.parent().expect("a folder"))?;
    fs::create_dir_all(&package)?;
    fs::write(folder.join("target/CACHEDIR.TAG"), "")?;
    let tests: String = (0..TESTS)
        .map(|number| format!("#[test] fn t{number}() {{}}\n"))
        .collect();
    let padding = format!("#[used] static PADDING: [u8; {padding}] = [7; {padding}];\n");
    fs::write(package.join("lib.rs"), tests + &padding)?;
    let compiled = Command::new("rustc")
        .args(["--test", "--edition=2024", "-Cstrip=debuginfo", "-o"])
        .args([&executable, &package.join("lib.rs")])
        .status()?;
    ensure!(compiled.success(), "rustc ended with {compiled}");
    let size = executable.metadata()?.len();
    eprintln!("  a binary of {:.1} MiB", size as f64 / f64::from(1 << 20));
    Ok(Binary {
        id: "plain".to_owned(),
        executable,
        folder: package,
        ..Binary::default()
    })
}
