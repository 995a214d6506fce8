//! `cargo xtask it`: provisions QEMU and a guest, runs the suite, and prints the outcomes.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_kata_test::cli::test::print_paths;
use cargo_kata_test::cli::vm_choice::VmKernel;
use guest_vm::artifacts::{
    InvalidQemuChoice, KernelChoice, MANIFEST_ENV, Manifest, Origin, QemuChoice, Store,
};
use guest_vm::config::{self, HypervisorConfig};
use guest_vm::own_kernel::OwnKernel;
use guest_vm::qemu::{Accelerator, Topology, UnknownTopology};
use guest_vm::warm::WarmStore;
use kata_test_runner::{Outcome, Record, Run};

use crate::interrupt::Interrupts;
use crate::it_nested::{self, Nested};
use crate::{cargo, exit_codes, it_default, it_table, provision, vm_capacity};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which QEMU: `auto` (from PATH if it is 7.2 or newer, else from packages), `host`,
    /// `suite:NAME` (a suite of the distribution, such as `suite:bookworm`), a path, or `all`
    /// (those of bookworm, trixie and sid, one after the other).
    #[arg(long, default_value = "auto", value_parser = qemus, value_name = "QEMU")]
    qemu: Qemus,

    /// Which machine: `q35`, `pc`, `q35-native` (PCI Express's own hotplug), `q35-bridge` (a
    /// conventional bus behind a bridge), or `all`, with what needs none of them. The default is `q35`, and
    /// with filters or `--full` it is `all`.
    #[arg(long, value_parser = machines, value_name = "MACHINE")]
    machine: Option<Machines>,

    /// Runs every case. The default, without filters, is attach, I/O on the right thread and detach, of each
    /// kind of device and placement.
    #[arg(long, conflicts_with = "filters")]
    full: bool,

    /// Which kernel the guest has: a version or suite of the distribution's archive (`5.10`, `trixie`), or the path
    /// of a bzImage, vmlinux, build folder or package, with a slash in it.
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<VmKernel>,

    /// The modules of a kernel from a file: a folder `lib/modules/VERSION`, or a second package.
    #[arg(long, value_name = "MODULES", requires = "kernel")]
    modules: Option<PathBuf>,

    /// Boots with this configuration, in Kata's form, instead of the suite's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Number of VMs at once. The default is three times the number of CPUs, or fewer if memory is short.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Boots a guest for each case instead of restoring a template.
    #[arg(long)]
    cold: bool,

    /// Runs the core of the suite, or with filters these cases, in a VM with the named kernel and KVM, which is
    /// emulated if this host has none: QEMU then uses KVM, with ioeventfd and irqfd. On q35 unless `--machine`
    /// names another, with a QEMU of packages.
    #[arg(
        long,
        value_name = "KERNEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "bookworm",
        conflicts_with_all = ["config", "full", "jobs", "soak"]
    )]
    nested: Option<KernelChoice>,

    /// Runs only the soak case: N attaches and detaches in one VM, while another disk on the same
    /// thread does checksummed I/O.
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

/// The variable that makes each case boot a guest.
const COLD_ENV: &str = "IOTHREAD_IT_COLD";

/// The Debian suites whose QEMUs `--qemu all` selects.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// The QEMUs to run with. A newtype, because clap reads a plain `Vec` as a repeatable option.
#[derive(Clone)]
pub(crate) struct Qemus(pub(crate) Vec<QemuChoice>);

pub(crate) fn qemus(text: &str) -> Result<Qemus, InvalidQemuChoice> {
    if text == "all" {
        let suites = SUITES.map(|suite| QemuChoice::Suite(suite.to_owned()));
        return Ok(Qemus(suites.to_vec()));
    }
    Ok(Qemus(vec![text.parse()?]))
}

/// The machine types to run on.
#[derive(Clone, Copy)]
enum Machines {
    All,
    One(Topology),
}

fn machines(text: &str) -> Result<Machines, UnknownTopology> {
    match text {
        "all" => Ok(Machines::All),
        _ => text.parse().map(Machines::One),
    }
}

impl Machines {
    fn has(self, test: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(topology) => it_table::topology(test) == Some(topology),
        }
    }
}

impl Options {
    /// The modules whose cases run if neither the user nor an option says which.
    fn default_set(&self) -> Option<&'static [&'static str]> {
        match &self.nested {
            _ if self.full || self.soak.is_some() || !self.filters.is_empty() => None,
            Some(_) => Some(&it_nested::MODULES),
            None => Some(&it_default::MODULES),
        }
    }

    fn machines(&self) -> Machines {
        let is_one = self.nested.is_some() || self.default_set().is_some();
        self.machine.unwrap_or(match is_one {
            true => Machines::One(Topology::Q35),
            false => Machines::All,
        })
    }

    fn kernel(&self) -> Result<Option<VmKernel>> {
        let kernel = self.kernel.clone();
        match (kernel, &self.modules) {
            (Some(VmKernel::Own(own)), modules) => Ok(Some(VmKernel::Own(OwnKernel {
                modules: modules.clone(),
                ..own
            }))),
            (Some(VmKernel::Archive(_)), Some(_)) => {
                bail!("--modules is for a kernel from a file: one of the archive has its own")
            }
            (kernel, _) => Ok(kernel),
        }
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let config = options.config.as_deref().map(checked).transpose()?;
    let mut exit = ExitCode::SUCCESS;
    for qemu in &options.qemu.0 {
        match run_with(qemu, config.as_deref(), options)? {
            code if code == ExitCode::SUCCESS => {}
            code if code == ExitCode::from(exit_codes::INTERRUPTED) => return Ok(code),
            code => exit = code,
        }
    }
    Ok(exit)
}

fn run_with(qemu: &QemuChoice, config: Option<&Path>, options: &Options) -> Result<ExitCode> {
    let manifest = provision::provision_with(qemu, options.kernel()?.as_ref(), false)?;
    let suite = build_suite()?;
    let tests = select(&suite, options)?;
    let target = cargo::target_directory()?;
    if let Some(kernel) = &options.nested {
        let nested = Nested::provide(kernel, qemu, &manifest, &suite, &target)?;
        return run_nested(nested, &manifest, &tests, options);
    }
    println!("{}", environment(&manifest));

    let run = Run::start(&target.join("kata-test"))?;
    run.describe(&environment(&manifest))?;
    let mut command = Command::new(&suite);
    command
        .arg("--exact")
        // A case that is selected by its exact name may not be skipped, so the others are excluded.
        .args(tests.others.iter().map(|name| format!("--skip={name}")))
        .arg(format!("--test-threads={}", jobs(config, options)?))
        .envs(run.env())
        .env(MANIFEST_ENV, Manifest::path_in(&target))
        .stdin(Stdio::null());
    if let Some(config) = config {
        command.env("IOTHREAD_IT_CONFIG", config);
    }
    if let Some(cycles) = options.soak {
        // Shows its progress.
        command
            .arg("--nocapture")
            .env("IOTHREAD_IT_SOAK", cycles.to_string());
    }
    if options.cold {
        command.env(COLD_ENV, "1");
    }
    let store = WarmStore::of(&Store::of_user()?);
    if let Err(error) = store.sweep() {
        println!("note: cannot remove unfinished templates of an earlier run: {error}");
    }
    // Discards the notes of earlier runs.
    drop(store.take_fallback_notes());
    let interrupts = Interrupts::watch()?;
    let status = command.status().context("cannot run the suite")?;

    let outcomes = run.merge()?;
    println!("{}", it_table::of(&outcomes));
    println!("{}", environment(&manifest));
    for why in store.take_fallback_notes() {
        println!("note: guests were booted cold instead of restored: {why}");
    }
    print_paths(run.dir());
    if options.default_set().is_some() {
        println!(
            "{} further cases: `cargo xtask it --full`",
            tests.others.len()
        );
    }
    if interrupts.received() {
        return Ok(interrupted(&outcomes, &tests));
    }
    let code = exit_code(&outcomes, tests.selected.len(), status.success());
    if code != ExitCode::SUCCESS {
        println!("the suite ended with {status}");
    }
    Ok(code)
}

/// Runs the cases in a VM with KVM.
fn run_nested(
    mut nested: Nested,
    manifest: &Manifest,
    tests: &Selection,
    options: &Options,
) -> Result<ExitCode> {
    let environment = format!("{}, KVM in {}", versions(manifest), nested.about());
    println!("{environment}");
    let run = Run::start(&cargo::target_directory()?.join("kata-test"))?;
    run.describe(&environment)?;
    if options.cold {
        nested.set(COLD_ENV, "1");
    }
    let interrupts = Interrupts::watch()?;
    let skipped = nested.run(&tests.selected, &run, &interrupts)?;
    let outcomes = run.merge()?;
    println!("{}", it_table::of(&outcomes));
    for outcome in &outcomes {
        if let Some(table) = it_table::figures(&outcome.test, &outcome.measures) {
            println!("{table}");
        }
    }
    println!("{environment}");
    print_paths(run.dir());
    if interrupts.received() {
        return Ok(interrupted(&outcomes, tests));
    }
    for one in &skipped {
        println!("skipped: {one}");
    }
    let ran = tests.selected.len() - skipped.len();
    Ok(exit_code(&outcomes, ran, true))
}

fn interrupted(outcomes: &[Record], tests: &Selection) -> ExitCode {
    println!(
        "interrupted: {} of {} cases have an outcome",
        outcomes.len(),
        tests.selected.len()
    );
    ExitCode::from(exit_codes::INTERRUPTED)
}

/// Checks a configuration early, and makes its path absolute: the suite has another working
/// directory.
fn checked(path: &Path) -> Result<PathBuf> {
    read_config(path)?;
    Ok(std::path::absolute(path)?)
}

pub(crate) fn read_config(path: &Path) -> Result<HypervisorConfig> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    config::read(&text).with_context(|| path.display().to_string())
}

fn jobs(config: Option<&Path>, options: &Options) -> Result<NonZeroUsize> {
    if let Some(jobs) = options.jobs {
        return Ok(jobs);
    }
    let config = config.map(read_config).transpose()?.unwrap_or_default();
    Ok(vm_capacity::vms(config.memory_mib))
}

fn build_suite() -> Result<PathBuf> {
    let mut command = cargo::cargo();
    // With the features of the whole workspace it shares what `cargo xtask test` builds.
    command.args([
        "test",
        "--no-run",
        "--workspace",
        "--all-features",
        "--test=it",
    ]);
    cargo::executable(&mut command).context("cannot build the suite")
}

/// The selected cases.
struct Selection {
    /// The names of the selected cases.
    selected: Vec<String>,
    /// The names of all other cases.
    others: Vec<String>,
}

/// Selects cases by machine and filter.
///
/// # Errors
///
/// If no case matches.
fn select(suite: &Path, options: &Options) -> Result<Selection> {
    let output = Command::new(suite)
        .args(["--list", "--format=terse"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot list the suite")?;
    ensure!(output.status.success(), "listing the suite failed");
    let list = String::from_utf8(output.stdout)?;
    let matches = |name: &str| match options.soak {
        Some(_) => name.starts_with("soak::"),
        None => match options.default_set() {
            Some(modules) => it_default::has(modules, name),
            None => options.full || options.filters.iter().any(|f| name.contains(f.as_str())),
        },
    };
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    for modules in [&it_default::MODULES[..], &it_nested::MODULES] {
        let missing = it_default::missing(modules, names.clone());
        ensure!(
            missing.is_empty(),
            "the suite has no case in {missing:?}, which are in a default set"
        );
    }
    let machines = options.machines();
    let (selected, others): (Vec<_>, Vec<_>) = names
        .map(str::to_owned)
        .partition(|name| machines.has(name) && matches(name));
    if selected.is_empty() {
        bail!("no case of the suite matches; the cases are:\n{list}");
    }
    Ok(Selection { selected, others })
}

/// Describes QEMU, kernel and accelerator.
fn environment(manifest: &Manifest) -> String {
    format!("{}, {}", versions(manifest), Accelerator::probe())
}

/// Describes QEMU and kernel.
fn versions(manifest: &Manifest) -> String {
    format!(
        "QEMU {} ({}), kernel {} ({})",
        manifest.qemu.version,
        origin(&manifest.qemu.origin),
        manifest.guest.kernel_release,
        origin(&manifest.guest.origin),
    )
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Host => "this host's".into(),
        Origin::Packages { suite, version } => format!("{suite}'s package {version}"),
        Origin::Files { kernel, .. } => kernel.display().to_string(),
    }
}

/// Prints the totals. The command succeeds if each case has passed or was skipped and one has passed.
fn exit_code(outcomes: &[Record], selected: usize, ended_well: bool) -> ExitCode {
    let count = |kind| outcomes.iter().filter(|o| o.outcome == kind).count();
    let expected = count(Outcome::ExpectedFailure);
    let passed = count(Outcome::Passed) + expected;
    let skipped = count(Outcome::Skipped);
    for outcome in outcomes.iter().filter(|o| o.outcome == Outcome::Skipped) {
        for reason in &outcome.reasons {
            println!("skipped: {}: {reason}", outcome.test);
        }
    }
    if passed > 0 && passed + skipped == selected && ended_well {
        let skipped = match skipped {
            0 => String::new(),
            _ => format!("; {skipped} of {selected} were skipped"),
        };
        match expected {
            0 => println!("all {passed} cases passed{skipped}"),
            _ => println!(
                "all {passed} cases passed, {expected} of them by failing as expected{skipped}"
            ),
        }
        return ExitCode::SUCCESS;
    }
    println!("{passed} of {selected} cases passed, {skipped} skipped");
    ExitCode::FAILURE
}
