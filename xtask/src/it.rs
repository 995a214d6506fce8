//! `cargo xtask it`: provisions, runs the suite, and says what came of it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_kata_test::cli::test::say_files;
use guest_vm::artifacts::{BadChoice, MANIFEST_ENV, Manifest, Origin, QemuChoice, Store};
use guest_vm::config::{self, HypervisorConfig};
use guest_vm::qemu::{Accelerator, NoTopology, Topology};
use guest_vm::warm::WarmStore;
use kata_test_runner::{Outcome, Record, Run};

use crate::interrupt::{self, Interrupts};
use crate::{cargo, provision, room, table};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which QEMU: `auto` (from PATH if it is 7.2 or newer, else from packages), `host`,
    /// `suite:NAME` (a suite of the distribution, such as `suite:bookworm`), a path, or `all`
    /// (those of bookworm, trixie and sid, one after the other).
    #[arg(long, default_value = "auto", value_parser = qemus, value_name = "QEMU")]
    qemu: Qemus,

    /// Which machine: `q35`, `pc`, `q35-native` (PCI Express's own hotplug), `q35-bridge` (a
    /// conventional bus behind a bridge), or `all`, with what needs none of them.
    #[arg(long, default_value = "all", value_parser = machines, value_name = "MACHINE")]
    machine: Machines,

    /// Boots with this configuration, in Kata's form, instead of the suite's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// VMs at once. The default is as many as there are CPUs and as memory has room for.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Boots a guest for each case, instead of restoring one that has booted before.
    #[arg(long)]
    cold: bool,

    /// Runs so many attaches and detaches in one VM, while a neighbour on the same thread does
    /// checksummed I/O, and nothing else.
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1000",
        conflicts_with = "filters"
    )]
    soak: Option<NonZeroUsize>,

    /// Runs the cases whose name contains one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// The suites of Debian whose QEMUs `--qemu all` means.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// A choice of QEMUs. (A type of its own, since clap takes a bare `Vec` for repetition.)
#[derive(Clone)]
pub(crate) struct Qemus(pub(crate) Vec<QemuChoice>);

pub(crate) fn qemus(text: &str) -> Result<Qemus, BadChoice> {
    if text == "all" {
        let suites = SUITES.map(|suite| QemuChoice::Suite(suite.to_owned()));
        return Ok(Qemus(suites.to_vec()));
    }
    Ok(Qemus(vec![text.parse()?]))
}

/// A choice of machines.
#[derive(Clone, Copy)]
enum Machines {
    All,
    One(Topology),
}

fn machines(text: &str) -> Result<Machines, NoTopology> {
    match text {
        "all" => Ok(Machines::All),
        _ => text.parse().map(Machines::One),
    }
}

impl Machines {
    fn has(self, test: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(topology) => table::topology(test) == Some(topology),
        }
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let config = options.config.as_deref().map(checked).transpose()?;
    let mut worst = ExitCode::SUCCESS;
    for qemu in &options.qemu.0 {
        match run_with(qemu, config.as_deref(), options)? {
            code if code == ExitCode::SUCCESS => {}
            code if code == ExitCode::from(interrupt::EXIT_CODE) => return Ok(code),
            code => worst = code,
        }
    }
    Ok(worst)
}

fn run_with(qemu: &QemuChoice, config: Option<&Path>, options: &Options) -> Result<ExitCode> {
    let manifest = provision::provision(qemu)?;
    let suite = build_suite()?;
    let tests = select(&suite, options)?;
    println!("{}", environment(&manifest));

    let target = cargo::target_directory()?;
    let run = Run::start(&target.join("kata-test"))?;
    run.describe(&environment(&manifest))?;
    let mut command = Command::new(&suite);
    command
        .arg("--exact")
        // By a name of its own, a case would have to run: one that cannot run here is a skip.
        .args(tests.others.iter().map(|name| format!("--skip={name}")))
        .arg(format!("--test-threads={}", jobs(config, options)?))
        .envs(run.env())
        .env(MANIFEST_ENV, Manifest::path_in(&target))
        .stdin(Stdio::null());
    if let Some(config) = config {
        command.env("IOTHREAD_IT_CONFIG", config);
    }
    if let Some(cycles) = options.soak {
        // What it says on its way is for the person who waits.
        command
            .arg("--nocapture")
            .env("IOTHREAD_IT_SOAK", cycles.to_string());
    }
    if options.cold {
        command.env("IOTHREAD_IT_COLD", "1");
    }
    let store = WarmStore::of(&Store::in_target(&target));
    if let Err(error) = store.sweep() {
        println!("note: what an earlier run left half made is still there: {error}");
    }
    // What an earlier run noted is no news.
    drop(store.take_notes());
    let interrupts = Interrupts::watch()?;
    let status = command.status().context("cannot run the suite")?;

    let outcomes = run.merge()?;
    println!("{}", table::of(&outcomes));
    println!("{}", environment(&manifest));
    for why in store.take_notes() {
        println!("note: guests were booted that were to be restored: {why}");
    }
    say_files(run.dir());
    if interrupts.seen() {
        println!(
            "interrupted: {} of {} cases have an outcome",
            outcomes.len(),
            tests.asked
        );
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    verdict(&outcomes, tests.asked, status)
}

/// Reads a configuration before anything long begins, and makes its path absolute, since the suite
/// has another working directory.
fn checked(path: &Path) -> Result<PathBuf> {
    read_config(path)?;
    Ok(std::path::absolute(path)?)
}

fn read_config(path: &Path) -> Result<HypervisorConfig> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    config::read(&text).with_context(|| path.display().to_string())
}

fn jobs(config: Option<&Path>, options: &Options) -> Result<NonZeroUsize> {
    if let Some(jobs) = options.jobs {
        return Ok(jobs);
    }
    let config = config.map(read_config).transpose()?.unwrap_or_default();
    Ok(room::vms(config.memory_mib))
}

fn build_suite() -> Result<PathBuf> {
    let mut command = cargo::cargo();
    command.args(["test", "--no-run", "--package=iothread-it", "--test=it"]);
    cargo::executable(&mut command).context("the suite cannot be built")
}

/// The suite's cases.
struct Selection {
    /// How many are asked for.
    asked: usize,
    /// The names of those that are not.
    others: Vec<String>,
}

/// Finds the cases that are asked for. There must be one.
fn select(suite: &Path, options: &Options) -> Result<Selection> {
    let output = Command::new(suite)
        .args(["--list", "--format=terse"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot list the suite")?;
    ensure!(output.status.success(), "listing the suite failed");
    let list = String::from_utf8(output.stdout)?;
    let filter_asked = |name: &str| match options.soak {
        Some(_) => name.starts_with("soak::"),
        None => {
            options.filters.is_empty() || options.filters.iter().any(|f| name.contains(f.as_str()))
        }
    };
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let (asked, others): (Vec<_>, Vec<_>) =
        names.partition(|name| options.machine.has(name) && filter_asked(name));
    if asked.is_empty() {
        bail!("no case of the suite is called so; the cases are:\n{list}");
    }
    Ok(Selection {
        asked: asked.len(),
        others: others.into_iter().map(str::to_owned).collect(),
    })
}

/// With what the suite runs.
fn environment(manifest: &Manifest) -> String {
    format!(
        "QEMU {} ({}), kernel {} ({}), {}",
        manifest.qemu.version,
        origin(&manifest.qemu.origin),
        manifest.guest.kernel_release,
        origin(&manifest.guest.origin),
        Accelerator::probe()
    )
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Host => "this host's".into(),
        Origin::Packages { suite, version } => format!("{suite}'s package {version}"),
    }
}

/// All asked for have passed, but for those that this QEMU or host cannot run, or the command fails
/// and says how many have not.
fn verdict(
    outcomes: &[Record],
    asked: usize,
    status: std::process::ExitStatus,
) -> Result<ExitCode> {
    let count = |kind| outcomes.iter().filter(|o| o.outcome == kind).count();
    let passed = count(Outcome::Passed);
    let skipped = count(Outcome::Skipped);
    for outcome in outcomes.iter().filter(|o| o.outcome == Outcome::Skipped) {
        for reason in &outcome.reasons {
            println!("skipped: {}: {reason}", outcome.test);
        }
    }
    if passed > 0 && passed + skipped == asked && status.success() {
        let expected = outcomes
            .iter()
            .filter(|o| table::is_expected_failure(o))
            .count();
        let skipped = match skipped {
            0 => String::new(),
            _ => format!("; {skipped} of {asked} were skipped"),
        };
        match expected {
            0 => println!("all {passed} cases passed{skipped}"),
            _ => println!(
                "all {passed} cases passed, {expected} of them by failing as expected{skipped}"
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{passed} of {asked} cases passed, {skipped} skipped; the suite ended with {status}");
    Ok(ExitCode::FAILURE)
}
