//! `cargo xtask bench`: each figure beside its peer's or its floor, measured in the same run.
//!
//! A file or folder a family says what is measured; the others are the frame: `rounds` measures
//! sides in turn, so that noise meets all of them, `samples` has the median and the spread, `figure`
//! the ratio and whether it may be quoted, and `table` and `written` show the outcome.

mod bare;
mod boot;
mod figure;
mod harness;
mod hotplug;
mod io;
mod machine;
mod rounds;
mod samples;
mod table;
mod vms;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use guest_vm::artifacts::QemuChoice;

use crate::cargo;
use crate::it::{Qemus, qemus};
use figure::Figure;
use rounds::Rounds;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measures those whose name contains one of these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Measures as few times as a median takes: a first look, in minutes.
    #[arg(long)]
    quick: bool,
    /// With which QEMU what needs one is measured: as for `cargo xtask it`.
    #[arg(long, default_value = "auto", value_parser = qemus, value_name = "QEMU")]
    qemu: Qemus,
    /// Prints the names, and measures nothing.
    #[arg(long)]
    list: bool,
}

/// What is measured at a time, and how.
struct Bench {
    /// `family: what`.
    name: &'static str,
    measure: fn(&Lab) -> Result<Vec<Figure>>,
}

/// Every family's.
const FAMILIES: [&[Bench]; 4] = [
    harness::BENCHES,
    boot::BENCHES,
    hotplug::BENCHES,
    io::BENCHES,
];

/// What a measurement works with.
struct Lab {
    /// A folder below Cargo's target folder, which lasts.
    folder: PathBuf,
    rounds: Rounds,
    qemus: Vec<QemuChoice>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let chosen = choose(&options.names)?;
    if options.list {
        chosen.iter().for_each(|bench| println!("{}", bench.name));
        return Ok(ExitCode::SUCCESS);
    }
    let target = cargo::target_directory()?.join("kata-test");
    let lab = Lab {
        folder: target.join("bench"),
        rounds: Rounds::new(options.quick),
        qemus: options.qemu.0.clone(),
    };
    let machine = machine::describe();
    println!("machine: {machine}");
    if let Some(note) = machine::busy() {
        eprintln!("note: {note}");
    }
    let mut figures = Vec::new();
    for bench in chosen {
        eprintln!("measuring {}", bench.name);
        let measured = (bench.measure)(&lab);
        figures.extend(measured.with_context(|| format!("cannot measure {}", bench.name))?);
    }
    println!("{}", table::of(&figures));
    let path = target.join("bench.json");
    written::update(&path, &figures, &machine)?;
    println!("figures: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn choose(names: &[String]) -> Result<Vec<&'static Bench>> {
    let all = || FAMILIES.into_iter().flatten();
    let wanted = |bench: &&Bench| names.iter().any(|name| bench.name.contains(name.as_str()));
    let chosen: Vec<_> = all()
        .filter(|bench| names.is_empty() || wanted(bench))
        .collect();
    let there: Vec<_> = all().map(|bench| bench.name).collect();
    ensure!(
        !chosen.is_empty(),
        "no figure is called so; there are: {}",
        there.join(", ")
    );
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_chooses_and_an_unknown_one_lists_what_there_is() {
        let names = |part: &str| {
            let chosen = choose(&[part.to_owned()]);
            chosen.map(|all| all.iter().map(|bench| bench.name).collect::<Vec<_>>())
        };
        assert_eq!(names("cold build").unwrap(), ["harness: cold build"]);
        let all: usize = FAMILIES.iter().map(|family| family.len()).sum();
        assert_eq!(choose(&[]).unwrap().len(), all);
        let error = names("cold boots of nothing").unwrap_err().to_string();
        assert!(error.contains("harness: cold build"), "{error}");
    }
}
