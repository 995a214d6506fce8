//! The harness beside libtest, nextest and libtest-mimic.

mod package;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::figure::{Figure, Goal, Peer};
use super::rounds::time;
use super::samples::Samples;
use super::{Bench, Lab};
use package::Package;

pub(super) const BENCHES: &[Bench] = &[
    Bench {
        name: "harness: 1000 trivial tests",
        measure: trivial,
    },
    Bench {
        name: "harness: list of 1000 tests",
        measure: list,
    },
    Bench {
        name: "harness: judged list of 1000 tests",
        measure: judged_list,
    },
    Bench {
        name: "harness: compile 1000 tests",
        measure: compile,
    },
    Bench {
        name: "harness: cold build",
        measure: cold_build,
    },
];

/// `cargo test` with our harness beside nextest with plain tests.
fn trivial(lab: &Lab) -> Result<Vec<Figure>> {
    let ours = Package::kata_test(&lab.folder, "trivial-ours", "#[kata_test]")?;
    let plain = Package::plain(&lab.folder)?;
    let forks = Package::forks(&lab.folder)?;
    for package in [&ours, &plain, &forks] {
        package.test_binary()?;
    }
    let test = ["test", "--quiet", "--test=many"];
    let [ours, peer, floor] = lab.rounds.alternate([
        &mut || time(&mut ours.cargo(&test)),
        &mut || time(&mut plain.cargo(&["nextest", "run", "--test=many"])),
        &mut || time(&mut forks.cargo(&test)),
    ])?;
    let name = "harness: 1000 trivial tests";
    let mut figure = figure(name, ours, peer, "nextest with plain tests", 1.0 / 15.0);
    figure.floor = Some(Peer {
        name: "cargo and 1000 forks that are read from",
        samples: floor,
    });
    Ok(vec![figure])
}

/// `--list`, for which nothing is judged.
fn list(lab: &Lab) -> Result<Vec<Figure>> {
    let args = ["--list", "--format=terse"];
    list_of(lab, "harness: list of 1000 tests", &args)
}

/// What nextest asks of a binary to know what it skips: every constraint is judged and recorded.
fn judged_list(lab: &Lab) -> Result<Vec<Figure>> {
    let args = ["--list", "--format=terse", "--ignored"];
    list_of(lab, "harness: judged list of 1000 tests", &args)
}

fn list_of(lab: &Lab, name: &str, args: &[&str]) -> Result<Vec<Figure>> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\", \
                 arch = \"x86_64\", device = \"/dev/d{50}\")]";
    let ours = Package::kata_test(&lab.folder, "list-ours", needs)?.test_binary()?;
    let plain = Package::plain(&lab.folder)?.test_binary()?;
    let records = lab.folder.join("records");
    let listed = |binary: &Path, args: &[&str]| {
        let mut command = Command::new(binary);
        command.args(args).env("NEXTEST", "1");
        command.env("KATA_TEST_RECORD_DIR", &records);
        time(&mut command)
    };
    let [ours, peer] = lab
        .rounds
        .alternate([&mut || listed(&ours, args), &mut || {
            listed(&plain, &["--list", "--format=terse"])
        }])?;
    Ok(vec![figure(name, ours, peer, "libtest's list", 3.0)])
}

/// A change in a target of tests with three constraints each, beside one with plain tests.
fn compile(lab: &Lab) -> Result<Vec<Figure>> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\")]";
    let ours = Package::kata_test(&lab.folder, "compile-ours", needs)?;
    let plain = Package::plain(&lab.folder)?;
    let build = |package: &Package| {
        package.touch()?;
        time(&mut package.cargo(&["test", "--no-run", "--quiet", "--test=many"]))
    };
    ours.test_binary()?;
    plain.test_binary()?;
    let [ours, peer] = lab
        .rounds
        .alternate([&mut || build(&ours), &mut || build(&plain)])?;
    let name = "harness: compile 1000 tests";
    Ok(vec![figure(name, ours, peer, "plain tests", 2.5)])
}

/// Everything that a package depends on is built anew. To a user ours comes from a registry as the
/// peer does, and what comes from there is not built incrementally: no more is it here.
fn cold_build(lab: &Lab) -> Result<Vec<Figure>> {
    let ours = Package::kata_test(&lab.folder, "cold-ours", "#[kata_test]")?;
    let mimic = Package::libtest_mimic(&lab.folder)?;
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
    let [ours, peer] = lab
        .rounds
        .alternate([&mut || build(&ours), &mut || build(&mimic)])?;
    let name = "harness: cold build";
    Ok(vec![figure(name, ours, peer, "libtest-mimic", 1.0)])
}

/// A figure in milliseconds, of which the less the better.
fn figure(name: &str, ours: Samples, peer: Samples, peer_name: &'static str, goal: f64) -> Figure {
    Figure {
        name: name.to_owned(),
        unit: "ms",
        ours,
        peer: Peer {
            name: peer_name,
            samples: peer,
        },
        floor: None,
        goal: Some(Goal::AtMost(goal)),
    }
}
