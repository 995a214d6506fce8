//! The checks, each on what was found.

use guest_vm::artifacts::shown_size;
use kata_test::constraint::{Status, evaluate, parse};
use kata_test::facts::{Finding, Question};
use kata_test_runner::plural;

use super::check::{Check, Mark, split};
use super::machine::{CacheState, Machine, Qemu};
use super::variables;
use crate::place::VM_MEMORY;

/// What the first VM takes in the cache: QEMU, a kernel, its images, package lists, and the saved VM.
const FIRST_VM: u64 = 1_200_000_000;
/// What each further VM takes: the same without QEMU and lists.
const FURTHER_VM: u64 = 800_000_000;

/// The oldest nextest that states everything which records have: `NEXTEST_BINARY_ID` and `NEXTEST_ATTEMPT`.
const NEXTEST: &str = "command = \"cargo-nextest >= 0.9.116\"";

/// The oldest Rust that builds the guest agent.
const CARGO: &str = concat!(
    "command = \"cargo >= ",
    env!("CARGO_PKG_RUST_VERSION"),
    "\""
);

/// Makes all checks.
pub(super) fn checks(machine: &Machine<'_>) -> Vec<Check> {
    let mut checks = vec![
        cargo(machine),
        nextest(machine),
        user(machine),
        userns(machine),
        sudo(machine),
        kvm(machine),
    ];
    checks.extend(fast_kvm(machine));
    match &machine.vms {
        Ok(()) => {
            checks.extend([
                packages(machine),
                network(machine),
                qemu(machine),
                cache(machine),
            ]);
            checks.extend(space(machine));
            checks.push(memory(machine));
        }
        Err(why) => checks.push(Check::other(
            Mark::Lacks,
            "VMs",
            split(why, "run them on an x86_64 Linux machine"),
            "no vm:…",
        )),
    }
    checks.extend(environment(machine));
    checks.extend(runner(machine));
    checks
}

impl Machine<'_> {
    /// The version of cargo.
    pub(super) fn cargo(&self) -> Result<String, String> {
        self.version_of("cargo")
    }

    /// Whether cargo is new enough for the agent of VMs.
    pub(super) fn builds_agent(&self) -> bool {
        self.lacks(CARGO).is_none()
    }

    /// Whether an archive may be reachable.
    pub(super) fn has_network(&self) -> bool {
        self.fact(Question::Network).is_ok() || !self.proxies.is_empty()
    }

    fn version_of(&self, command: &'static str) -> Result<String, String> {
        self.fact(Question::CommandVersion(command))
    }

    /// The verdict on a constraint of this machine: its reasons, if it is not met.
    fn lacks(&self, constraint: &str) -> Option<String> {
        let parsed = parse(constraint).expect("a constraint in the code");
        let evaluation = evaluate(&parsed, self.host);
        let reasons: Vec<String> = evaluation.reasons.iter().map(ToString::to_string).collect();
        (evaluation.status != Status::Met).then(|| reasons.join("; "))
    }

    /// The text of a fact, or why it is not known.
    fn fact(&self, question: Question) -> Result<String, String> {
        match &self.host.ask(question).finding {
            Finding::Is(text) => Ok(text.clone()),
            Finding::Absent(text) | Finding::Unknown(text) => Err(text.clone()),
        }
    }
}

fn cargo(machine: &Machine<'_>) -> Check {
    const NAME: &str = "cargo";
    match (machine.cargo(), machine.lacks(CARGO)) {
        (Ok(_), Some(old)) => Check::other(
            Mark::Attention,
            NAME,
            (old, "update Rust, such as by `rustup update`"),
            "no vm:…, whose agent it cannot build; tests that use kata-test need 1.85",
        ),
        (Ok(version), None) => {
            Check::works(NAME, version, "all: builds the tests, and the agent of VMs")
        }
        (Err(why), _) => Check::other(
            Mark::Attention,
            NAME,
            (why, "install Rust, and put cargo on PATH"),
            "none: no test can be built",
        ),
    }
}

fn nextest(machine: &Machine<'_>) -> Check {
    const NAME: &str = "cargo-nextest";
    match (machine.version_of("cargo-nextest"), machine.lacks(NEXTEST)) {
        (Ok(_), Some(old)) => Check::other(
            Mark::Attention,
            NAME,
            (
                old,
                "run `cargo nextest self update`, or `cargo install --locked cargo-nextest`",
            ),
            "here: with `cargo nextest run`, records have no number of the attempt, and guess the binary's id",
        ),
        (Ok(version), None) => Check::works(
            NAME,
            version,
            "here: `cargo nextest run` shows skips and their reasons",
        ),
        (Err(why), _) => Check::other(
            Mark::Lacks,
            NAME,
            (
                why,
                "nothing, or `cargo install --locked cargo-nextest` if you want it",
            ),
            "all: `cargo test` and `cargo kata-test` do not need it",
        ),
    }
}

fn user(machine: &Machine<'_>) -> Check {
    const NAME: &str = "user";
    let uid = machine
        .fact(Question::EffectiveUid)
        .unwrap_or_else(|why| why);
    let finding = format!("effective uid {uid}");
    match machine.lacks("root") {
        None => Check::works(NAME, finding, "here: runs tests that need root"),
        Some(_) => Check::works(
            NAME,
            finding,
            "here: skips tests that need root; sudo and VMs run them",
        ),
    }
}

fn userns(machine: &Machine<'_>) -> Check {
    const NAME: &str = "user namespaces";
    match &machine.userns {
        Ok(about) => Check::works(
            NAME,
            about,
            "userns: tests that accept it instead of root, in milliseconds",
        ),
        Err(why) => Check::other(
            Mark::Lacks,
            NAME,
            split(why, "run these tests in a VM"),
            "no userns: tests for it run in a VM, which takes longer",
        ),
    }
}

fn sudo(machine: &Machine<'_>) -> Check {
    const NAME: &str = "sudo";
    match &machine.sudo {
        _ if machine.is_root => Check::works(NAME, "not needed by root", "here: is root already"),
        Ok(()) => Check::works(
            NAME,
            "`sudo -n` needs no password",
            "sudo: with `--sudo`, tests that need root run on this host",
        ),
        Err(why) => Check::other(
            Mark::Lacks,
            NAME,
            split(why, "run tests that require root in other places"),
            "no sudo: tests that need root run in a VM, or in userns if they accept it",
        ),
    }
}

fn kvm(machine: &Machine<'_>) -> Check {
    const NAME: &str = "KVM";
    let Some(why) = machine.lacks("kvm") else {
        let finding = machine.fact(Question::Kvm).unwrap_or_default();
        return Check::works(NAME, finding, "here: runs tests that need `kvm`");
    };
    let next = if why.contains("permission") {
        "as root, run `usermod -aG kvm USER` and log in again, or add the udev rule \
         `KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0666\"`"
    } else if why.contains("does not work") {
        "nothing helps on this machine; on another one, enable nested virtualization if it is a VM"
    } else {
        "enable virtualization in the firmware, or nested virtualization if this machine is a VM, and load kvm_intel \
         or kvm_amd"
    };
    let effect = "here: skips tests that need `kvm`; vm:…+kvm runs them with an emulated KVM";
    Check::other(Mark::Lacks, NAME, (why, next), effect)
}

/// Its speed, if there is one.
fn fast_kvm(machine: &Machine<'_>) -> Option<Check> {
    const NAME: &str = "KVM's speed";
    if machine.lacks("kvm").is_some() {
        return None;
    }
    Some(match machine.lacks("kvm_hardware") {
        None => Check::works(
            NAME,
            "that of hardware",
            "here: runs tests that need `kvm_hardware`; vm:…: VMs use it",
        ),
        Some(why) => Check::other(
            Mark::Lacks,
            NAME,
            (
                why,
                "nothing, or use a machine whose KVM is that of hardware",
            ),
            "here: skips tests that need `kvm_hardware`; vm:…: VMs are about ten times slower than with that",
        ),
    })
}

fn packages(machine: &Machine<'_>) -> Check {
    const NAME: &str = "apt";
    match &machine.packages {
        Ok(suite) => Check::works(
            NAME,
            format!("apt and dpkg can fetch and unpack packages of {suite}, without root"),
            "vm:…: QEMU and kernels come from there, at the first use",
        ),
        Err(why) => {
            let cached = match &machine.cache {
                Ok(cache) if cache.kernels > 0 => {
                    "vm:…: only those that the cache has; any with --kernel"
                }
                _ => "no vm:…, except with --kernel and an installed QEMU",
            };
            let step = "install apt and dpkg, or choose an installed QEMU";
            Check::other(Mark::Lacks, NAME, split(why, step), cached)
        }
    }
}

fn network(machine: &Machine<'_>) -> Check {
    const NAME: &str = "network";
    let by = match machine.proxies.is_empty() {
        true => "no proxy variable is set".to_owned(),
        false => format!("{} set, and apt uses them", machine.proxies.join(", ")),
    };
    match machine.fact(Question::Network) {
        Ok(route) => Check::works(
            NAME,
            format!("{route}; {by}; no connection was tried"),
            "vm:…: the archive may be reachable",
        ),
        Err(why) => Check::other(
            Mark::Lacks,
            NAME,
            (
                format!("{why}; {by}; no connection was tried"),
                "fill the cache where there is a network, copy it, and use `--offline`",
            ),
            "vm:…: only those that the cache has, unless a proxy or the archive is on this host",
        ),
    }
}

fn qemu(machine: &Machine<'_>) -> Check {
    const NAME: &str = "QEMU";
    let next = "choose another one with `--qemu`, or `auto`";
    match &machine.qemu {
        Ok(Qemu::Installed(version, program)) => Check::works(
            NAME,
            format!("{version}, {}", program.display()),
            "vm:…: VMs run in it",
        ),
        Ok(Qemu::Packages(suite, useless)) => {
            let own = machine.packages.as_ref().ok();
            let has_one = machine.cache.as_ref().is_ok_and(|cache| cache.has_qemu);
            let why = useless.as_ref().map(|why| format!("{why}; "));
            let why = why.unwrap_or_default();
            match suite.as_ref().or(own) {
                Some(suite) if own.is_some() || has_one => Check::works(
                    NAME,
                    format!("{why}that of the packages of {suite} is used"),
                    "vm:…: it is unpacked into the cache, and nothing is installed",
                ),
                None if has_one => Check::works(
                    NAME,
                    format!("{why}the cache has one"),
                    "vm:…: VMs run in it",
                ),
                _ => Check::other(
                    Mark::Lacks,
                    NAME,
                    (
                        format!("{why}it cannot be had from packages either"),
                        "install QEMU 7.2 or newer, so that `qemu-system-x86_64` is on PATH, or apt and dpkg",
                    ),
                    "no vm:…",
                ),
            }
        }
        Err(why) => Check::other(Mark::Attention, NAME, split(why, next), "no vm:…"),
    }
}

fn cache(machine: &Machine<'_>) -> Check {
    const NAME: &str = "cache";
    const STEP: &str = "set KATA_TEST_CACHE to a folder that this user can write";
    let problem = |why: &str| {
        let effect = "no vm:…: QEMU, kernels and VMs are kept there";
        Check::other(Mark::Attention, NAME, split(why, STEP), effect)
    };
    match &machine.cache {
        Err(why) => problem(why),
        Ok(CacheState {
            problem: Some(why), ..
        }) => problem(why),
        Ok(cache) => {
            let kernels = plural(cache.kernels, "kernel");
            Check::works(
                NAME,
                format!(
                    "{}, {} of at most {}, with {kernels}",
                    cache.folder.display(),
                    shown_size(cache.bytes),
                    shown_size(cache.limit)
                ),
                "vm:…: kept there, for all workspaces; `cargo kata-test cache` shows and clears it",
            )
        }
    }
}

impl CacheState {
    /// Whether it has what a VM is made of.
    pub(super) fn has_vm(&self) -> bool {
        self.has_qemu && self.kernels > 0
    }

    /// What the next VM takes.
    fn needed(&self) -> u64 {
        match self.has_vm() {
            true => FURTHER_VM,
            false => FIRST_VM,
        }
    }

    /// Why no VM fits into the space that is free.
    pub(super) fn lack_of_space(&self) -> Option<String> {
        (self.free < self.needed()).then(|| {
            format!(
                "{} are free for the cache, and a VM with a kernel that it does not have takes about {}",
                shown_size(self.free),
                shown_size(self.needed())
            )
        })
    }
}

/// The space for the cache, if it can be used.
fn space(machine: &Machine<'_>) -> Option<Check> {
    const NAME: &str = "space";
    let cache = machine.cache.as_ref().ok()?;
    Some(match cache.lack_of_space() {
        None => Check::works(
            NAME,
            format!(
                "{} are free for the cache; the first VM takes about {}, each further kernel {}",
                shown_size(cache.free),
                shown_size(FIRST_VM),
                shown_size(FURTHER_VM)
            ),
            "vm:…: there is room",
        ),
        Some(why) => Check::other(
            Mark::Attention,
            NAME,
            (
                why,
                "free some, such as by `cargo kata-test cache prune --max 2G`, or set KATA_TEST_CACHE to a folder \
                 on a larger file system",
            ),
            match cache.has_vm() {
                true => "vm:…: only those that the cache has",
                false => "no vm:…",
            },
        ),
    })
}

fn memory(machine: &Machine<'_>) -> Check {
    const NAME: &str = "memory";
    let bytes = machine.fact(Question::MemAvailable);
    let bytes = bytes.map(|text| text.parse::<u64>().unwrap_or_default());
    let each = shown_size(VM_MEMORY);
    match bytes {
        Ok(bytes) if bytes < VM_MEMORY => Check::other(
            Mark::Attention,
            NAME,
            (
                format!(
                    "{} are available, and a VM takes up to {each}",
                    shown_size(bytes)
                ),
                "end other programs, or raise the limit of the container",
            ),
            "vm:…: a VM is started, and may be killed for lack of memory",
        ),
        Ok(bytes) => Check::works(
            NAME,
            format!(
                "{} are available; a VM takes up to {each}",
                shown_size(bytes)
            ),
            format!("vm:…: up to {} at a time", machine.fitting_vms),
        ),
        Err(why) => Check::other(
            Mark::Attention,
            NAME,
            (why, "make /proc/meminfo readable"),
            "vm:…: it is not known how many fit",
        ),
    }
}

fn environment(machine: &Machine<'_>) -> Vec<Check> {
    const NAME: &str = "environment";
    if machine.variables.is_empty() {
        let finding = "no variable KATA_TEST_… is set";
        return vec![Check::works(NAME, finding, "all: as documented")];
    }
    let check = |(name, value): &(String, String)| match variables::effect(name) {
        Some(effect) => Check::other(
            Mark::Attention,
            NAME,
            (
                variables::shown(name, value),
                format!("unset {name} if that is not wanted"),
            ),
            effect,
        ),
        None => Check::other(
            Mark::Attention,
            NAME,
            (
                format!(
                    "{name} is set, and is not a variable for users{}",
                    variables::meant(name)
                ),
                format!("correct the name, or unset {name}"),
            ),
            "all: it has no effect, unless a test started this",
        ),
    };
    machine.variables.iter().map(check).collect()
}

fn runner(machine: &Machine<'_>) -> Option<Check> {
    let runner = machine.runner.as_ref()?;
    Some(Check::other(
        Mark::Attention,
        "target runner",
        (
            format!("cargo starts test binaries by the runner of {runner}"),
            "remove it if `cargo kata-test` is to be the only one that chooses places",
        ),
        "here: `cargo test` and `cargo nextest run` use it, `cargo kata-test test` does not",
    ))
}
