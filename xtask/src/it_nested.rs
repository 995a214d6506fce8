//! `cargo xtask it --nested`: the core of the suite with QEMU under KVM, in a VM that has KVM. TCG emulates a CPU
//! with virtualization, so that the host needs none.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cargo_kata_test::cli::interrupt::Interrupts;
use cargo_kata_test::cli::places::VmPlaces;
use cargo_kata_test::place::VmPlace;
use guest_vm::artifacts::{KernelChoice, MANIFEST_ENV, Manifest, QemuChoice, WorkFolder};
use kata_test::constraint::Status;
use kata_test_runner::{Binary, Job, JobTest, Listed, Listing, Place, Reason, Run};

use crate::provision;

/// Modules of the suite that run without a filter: threads, attach, I/O on the right thread, detach, cycles,
/// evidence in three ways, and irqfd.
pub(crate) const MODULES: [&str; 8] = [
    "threads",
    "attach",
    "serving",
    "three_ways",
    "load",
    "data",
    "cycles",
    "irqfd",
];

/// A case that only runs under KVM.
const UNDER_KVM: &str = "::interrupts_bypass_the_main_loop_under_kvm";

/// How long a case may take on hardware. The place multiplies it by how much slower it is.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// The suite in a VM with KVM.
pub(crate) struct Nested {
    place: VmPlace,
    binary: Binary,
    /// Locked while the copy is used.
    _lock: File,
}

impl Nested {
    /// Provides the VM, whose QEMU is of the same choice, and copies what the suite needs.
    pub(crate) fn provide(
        kernel: &KernelChoice,
        qemu: &QemuChoice,
        manifest: &Manifest,
        suite: &Path,
        target: &Path,
    ) -> Result<Self> {
        let work = WorkFolder::in_target(target);
        let lock = locked(&work.path().join("nested.lock"))?;
        let folder = work.path().join("nested");
        let manifest = manifest.copy_to(&folder)?;
        let vms = VmPlaces {
            vms: vec![kernel.clone().into()],
            qemu: qemu.clone(),
            all: false,
        };
        let place = provision::vm_places(&vms, false)?.pop();
        let binary = Binary {
            id: "iothread-it::it".to_owned(),
            executable: suite.to_owned(),
            folder,
            env: vec![(MANIFEST_ENV.into(), manifest.into())],
            ..Binary::default()
        };
        Ok(Self {
            place: place.context("no VM was provided")?.with_kvm(),
            binary,
            _lock: lock,
        })
    }

    /// Describes the VM.
    pub(crate) fn about(&self) -> String {
        format!("{}: {}", self.place.name(), self.place.about())
    }

    /// Sets a variable for the suite.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.binary.env.push((name.into(), value.into()));
    }

    /// Runs the cases that can run there. The others, which are returned with the reasons, are skipped.
    pub(crate) fn run(
        &mut self,
        cases: &[String],
        run: &Run,
        interrupts: &Interrupts,
    ) -> Result<Vec<String>> {
        let (name, stop) = (self.place.name().to_owned(), interrupts.stop());
        println!("{name}: starting");
        let start = Instant::now();
        let list = self.place.list(&self.binary, &[], stop);
        let list = list.map_err(|error| anyhow::anyhow!(error).context(name.clone()))?;
        let listing = Listing::parse(&list)?;
        println!("{name}: it lists the cases after {}", seconds(start));
        has_kvm(&name, &listing.tests)?;
        let mut tests = Vec::new();
        let mut skipped = Vec::new();
        for case in listing.tests {
            if !cases.contains(&case.test) {
                continue;
            }
            let there = case.eligibility().context("a case is marked as ignored")?;
            match there.status {
                Status::Met => tests.push(JobTest {
                    name: case.test,
                    limit: Some(CASE_LIMIT),
                    attempts: 1,
                    own_machine: false,
                }),
                Status::Unmet => skipped.push(format!("{}: {}", case.test, texts(&there.reasons))),
                Status::Undetermined => bail!("{name}: {}: {}", case.test, texts(&there.reasons)),
            }
        }
        println!(
            "{name}: cases that run there, one after the other: {}",
            tests.len()
        );
        let job = Job {
            binary: &self.binary,
            tests,
            run,
            questions: &[],
            steps_per_ms: 0.0,
            stop: interrupts.stop(),
        };
        let ran = self.place.run(&job, &mut |output| {
            // Without a reader there is nobody to tell.
            let _ = std::io::stdout().write_all(output);
        });
        ran.map_err(|error| anyhow::anyhow!(error).context(name.clone()))?;
        println!("{name}: done after {}", seconds(start));
        Ok(skipped)
    }
}

/// Locks a file: a run with another QEMU would replace the copy.
fn locked(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("waiting for another run of `--nested` in this target directory");
        file.lock()?;
    }
    Ok(file)
}

/// Checks that QEMU will run under KVM: the cases are not meant for an emulator in an emulator.
fn has_kvm(place: &str, cases: &[Listed]) -> Result<()> {
    let case = cases.iter().find(|case| case.test.ends_with(UNDER_KVM));
    let case = case.with_context(|| format!("the suite has no case *{UNDER_KVM}"))?;
    let there = case.eligibility();
    let there = there.with_context(|| format!("{} is marked as ignored", case.test))?;
    ensure!(
        there.status == Status::Met,
        "{place} has no usable KVM, which `--nested` needs: {}; see constraints/docs/kvm.md for what emulates it",
        texts(&there.reasons)
    );
    Ok(())
}

fn texts(reasons: &[Reason]) -> String {
    let texts: Vec<String> = reasons.iter().map(Reason::to_string).collect();
    texts.join(", ")
}

fn seconds(since: Instant) -> String {
    format!("{:.0} s", since.elapsed().as_secs_f64())
}
