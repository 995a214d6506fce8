//! The harness compared with libtest, nextest and libtest-mimic.

mod package;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::figure::{Figure, Goal, Peer};
use super::interleave::time;
use super::{Bench, Setup};
use iothread_advise::Samples;
use package::Package;
pub(super) use package::update;

pub(super) const BENCHES: &[Bench] = &[
    Bench::new("harness: 1000 trivial tests", trivial),
    Bench::new("harness: list of 1000 tests", list),
    Bench::new(
        "harness: list of 1000 tests with verdicts",
        list_with_verdicts,
    ),
    Bench::new("harness: compile 1000 tests", compile),
    Bench::new("harness: cold build", cold_build),
];

/// `cargo test` with our harness, compared with nextest and plain tests.
fn trivial(setup: &Setup) -> Result<Vec<Figure>> {
    let ours = Package::kata_test(&setup.folder, "trivial-ours", "#[kata_test]")?;
    let plain = Package::plain(&setup.folder)?;
    let forks = Package::forks(&setup.folder)?;
    for package in [&ours, &plain, &forks] {
        package.test_binary()?;
    }
    let test = ["test", "--quiet", "--test=many"];
    let [ours, peer, floor] = setup.rounds().interleave([
        &mut || time(&mut ours.cargo(&test)),
        &mut || time(&mut plain.cargo(&["nextest", "run", "--test=many"])),
        &mut || time(&mut forks.cargo(&test)),
    ])?;
    let name = "harness: 1000 trivial tests";
    let figure = figure(name, ours, peer, "nextest with plain tests", 1.0 / 15.0);
    let floor = Peer::new("cargo and 1000 forks that are read from", floor);
    Ok(vec![figure.with_floor(floor)])
}

/// `--list`, which evaluates no constraint.
fn list(setup: &Setup) -> Result<Vec<Figure>> {
    let args = ["--list", "--format=terse"];
    list_of(setup, "harness: list of 1000 tests", &args, 3.0)
}

/// `--list --ignored` under nextest, which evaluates and records every constraint.
fn list_with_verdicts(setup: &Setup) -> Result<Vec<Figure>> {
    let args = ["--list", "--format=terse", "--ignored"];
    list_of(
        setup,
        "harness: list of 1000 tests with verdicts",
        &args,
        5.0,
    )
}

fn list_of(setup: &Setup, name: &str, args: &[&str], goal: f64) -> Result<Vec<Figure>> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\", \
                 arch = \"x86_64\", device = \"/dev/d{50}\")]";
    let ours = Package::kata_test(&setup.folder, "list-ours", needs)?.test_binary()?;
    let plain = Package::plain(&setup.folder)?.test_binary()?;
    let records = setup.folder.join("records");
    let listed = |binary: &Path, args: &[&str]| {
        let mut command = Command::new(binary);
        command.args(args).env("NEXTEST", "1");
        command.env("KATA_TEST_RECORD_DIR", &records);
        time(&mut command)
    };
    let [ours, peer] = setup
        .rounds()
        .interleave([&mut || listed(&ours, args), &mut || {
            listed(&plain, &["--list", "--format=terse"])
        }])?;
    Ok(vec![figure(name, ours, peer, "libtest's list", goal)])
}

/// Recompilation of a test target with three constraints per test, compared with plain tests.
fn compile(setup: &Setup) -> Result<Vec<Figure>> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\")]";
    let ours = Package::kata_test(&setup.folder, "compile-ours", needs)?;
    let plain = Package::plain(&setup.folder)?;
    let build = |package: &Package| {
        package.touch()?;
        time(&mut package.cargo(&["test", "--no-run", "--quiet", "--test=many"]))
    };
    ours.test_binary()?;
    plain.test_binary()?;
    let [ours, peer] = setup
        .rounds()
        .interleave([&mut || build(&ours), &mut || build(&plain)])?;
    let name = "harness: compile 1000 tests";
    Ok(vec![figure(name, ours, peer, "plain tests", 2.5)])
}

/// A build of a package with all its dependencies. Dependencies from a registry are not built
/// incrementally, so neither is ours here.
fn cold_build(setup: &Setup) -> Result<Vec<Figure>> {
    let ours = Package::kata_test(&setup.folder, "cold-ours", "#[kata_test]")?;
    let mimic = Package::libtest_mimic(&setup.folder)?;
    for package in [&ours, &mimic] {
        let fetched = package.cargo(&["fetch", "--quiet"]).status();
        fetched.context("cannot fetch")?;
    }
    let build = |package: &Package| {
        package.clean()?;
        time(
            package
                .cargo(&["build", "--quiet"])
                .env("CARGO_INCREMENTAL", "0"),
        )
    };
    let [ours, peer] = setup
        .rounds()
        .interleave([&mut || build(&ours), &mut || build(&mimic)])?;
    let name = "harness: cold build";
    Ok(vec![figure(name, ours, peer, "libtest-mimic", 1.0)])
}

/// A figure in milliseconds, of which less is better.
fn figure(name: &str, ours: Samples, peer: Samples, peer_name: &str, goal: f64) -> Figure {
    let peer = Peer::new(peer_name, peer);
    Figure::new(name.to_owned(), "ms", ours, peer).with_goal(Goal::AtMost(goal))
}
