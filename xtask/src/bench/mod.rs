//! `cargo xtask bench`: benchmarks, each compared with a peer or a lower bound in the same run.
//!
//! `boot`, `fio`, `harness`, `hotplug`, `io`, `peers`, `plain` and `userns` are families of benchmarks. `interleave` alternates what is
//! compared, so that noise affects both; `stats` has median and quartiles, `figure` the ratio and its
//! goal, and `table` and `json` are the output.

mod boot;
mod figure;
mod fio;
mod harness;
mod hotplug;
mod interleave;
mod io;
mod json;
mod machine;
mod peers;
mod plain;
mod raw_qemu;
mod table;
mod userns;
mod vms;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use guest_vm::artifacts::QemuChoice;

use crate::cargo;
use crate::it::{Qemus, qemus};
use figure::Figure;
use interleave::Rounds;
use vms::Vms;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs the benchmarks whose name contains one of these. Without a name, all but `peers`, which installs other
    /// tools below the target folder.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Takes fewer samples: a first impression in minutes.
    #[arg(long)]
    quick: bool,
    /// Which QEMU the VM benchmarks use, as for `cargo xtask it`.
    #[arg(long, default_value = "auto", value_parser = qemus, value_name = "QEMU")]
    qemu: Qemus,
    /// Lists the benchmarks and runs none.
    #[arg(long)]
    list: bool,
}

/// A benchmark.
struct Bench {
    /// `family: what`.
    name: &'static str,
    measure: Measure,
}

enum Measure {
    Once(fn(&Setup) -> Result<Vec<Figure>>),
    WithEachQemu(fn(&Setup, &Vms) -> Result<Vec<Figure>>),
}

impl Bench {
    const fn new(name: &'static str, measure: fn(&Setup) -> Result<Vec<Figure>>) -> Self {
        let measure = Measure::Once(measure);
        Self { name, measure }
    }

    /// A benchmark that runs with each selected QEMU.
    const fn of_vms(name: &'static str, measure: fn(&Setup, &Vms) -> Result<Vec<Figure>>) -> Self {
        let measure = Measure::WithEachQemu(measure);
        Self { name, measure }
    }
}

/// All benchmarks.
const FAMILIES: [&[Bench]; 8] = [
    harness::BENCHES,
    plain::BENCHES,
    userns::BENCHES,
    peers::BENCHES,
    boot::BENCHES,
    hotplug::BENCHES,
    io::BENCHES,
    fio::BENCHES,
];

/// What a benchmark works with.
struct Setup {
    /// A folder below Cargo's target folder, kept between runs.
    folder: PathBuf,
    quick: bool,
    qemus: Vec<QemuChoice>,
}

impl Setup {
    fn rounds(&self) -> Rounds {
        Rounds::new(self.quick)
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let chosen = choose(&options.names)?;
    if options.list {
        chosen.iter().for_each(|bench| println!("{}", bench.name));
        return Ok(ExitCode::SUCCESS);
    }
    let target = cargo::target_directory()?.join("kata-test");
    let setup = Setup {
        folder: target.join("bench"),
        quick: options.quick,
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
        let measured = match bench.measure {
            Measure::Once(measure) => measure(&setup),
            Measure::WithEachQemu(measure) => vms::each(&setup, measure),
        };
        figures.extend(measured.with_context(|| format!("cannot measure {}", bench.name))?);
    }
    println!("{}", table::of(&figures));
    let path = target.join("bench.json");
    json::update(&path, &figures, &machine)?;
    println!("figures: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn choose(names: &[String]) -> Result<Vec<&'static Bench>> {
    let all = || FAMILIES.into_iter().flatten();
    let wanted = |bench: &&Bench| names.iter().any(|name| bench.name.contains(name.as_str()));
    let chosen: Vec<_> = all()
        .filter(|bench| wanted(bench) || (names.is_empty() && !bench.name.starts_with("peers")))
        .collect();
    let there: Vec<_> = all().map(|bench| bench.name).collect();
    ensure!(
        !chosen.is_empty(),
        "no benchmark matches; the benchmarks are: {}",
        there.join(", ")
    );
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_selects_and_an_unknown_name_lists_all() {
        let names = |part: &str| {
            let chosen = choose(&[part.to_owned()]);
            chosen.map(|all| all.iter().map(|bench| bench.name).collect::<Vec<_>>())
        };
        assert_eq!(names("cold build").unwrap(), ["harness: cold build"]);
        let all: usize = FAMILIES.iter().map(|family| family.len()).sum();
        assert_eq!(choose(&[]).unwrap().len(), all - peers::BENCHES.len());
        let error = names("cold boots of nothing").unwrap_err().to_string();
        assert!(error.contains("harness: cold build"), "{error}");
    }
}
