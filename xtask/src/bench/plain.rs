//! Plain tests in a warm VM, each in a process of its own: what a test costs beyond its own time.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kata_test_runner::{
    Binary, LocalSession, Place, ProcessEnd, Session, SessionCommand, StopToken, UserKind,
};

use super::figure::{Figure, Goal, Peer};
use super::vms::since;
use super::{Bench, Setup};
use cargo_kata_test::cli::places::VmPlaces;
use guest_vm::artifacts::KernelChoice;
use iothread_advise::Samples;

use crate::provision;

/// The limit for a small binary, in milliseconds.
const LIMIT_MS: f64 = 30.0;

/// The number of tests in each binary. They do nothing.
const TESTS: usize = 250;

pub(super) const BENCHES: &[Bench] = &[Bench {
    name: "plain: a test in a warm VM",
    measure: |setup| {
        let small = measure(setup, "2 MiB", 3 << 18)?;
        let large = measure(setup, "20 MiB", 75 << 18)?;
        Ok(small.into_iter().chain(large).collect())
    },
}];

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
    let figure = |what, peer, goal| Figure {
        name: format!("plain: a test of a {size} binary in a warm VM, {what}"),
        unit: "ms",
        ours: guest.clone(),
        peer,
        floor: None,
        goal,
    };
    let here = Peer {
        name: "the same on this host",
        samples: here,
    };
    let limit = Peer {
        name: "the limit of 30 ms",
        samples: Samples::new(vec![LIMIT_MS])?,
    };
    let goal = (padding < 1 << 20).then_some(Goal::AtMost(1.0));
    Ok(vec![
        figure("emulated", here, None),
        figure("limit", limit, goal),
    ])
}

/// Runs a test and returns its duration in milliseconds.
fn run(session: &mut dyn Session, number: usize) -> Result<f64> {
    let name = format!("t{}", number % TESTS);
    let arguments = ["--exact", &name, "--nocapture"].map(OsStr::new);
    let command = SessionCommand {
        program: None,
        arguments: &arguments,
        env: &[],
        artifacts: None,
        limit: Duration::from_secs(60),
        stop: StopToken::NEVER,
    };
    let mut output = Vec::new();
    let start = Instant::now();
    let end = session.run(&command, &mut |bytes| output.extend_from_slice(bytes));
    let took = since(start);
    let end = end.map_err(|error| anyhow!("{error}"))?;
    let output = String::from_utf8_lossy(&output);
    ensure!(
        end == ProcessEnd::Exited(0) && output.contains("1 passed"),
        "{end:?}: {output}"
    );
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
