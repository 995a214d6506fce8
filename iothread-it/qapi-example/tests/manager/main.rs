//! **Scope**: the example as a VM manager beside a real QEMU with a guest. One detach that is never answered
//! delays no other, and a manager that is killed at any moment goes on from its saved state, in agreement with
//! QEMU. QEMU's own answers, through a monitor that the manager does not have, are the oracle.

mod agreement;
mod outside;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::config::{HypervisorConfig, IoThreads};
use guest_vm::qemu::VmSpec;
use guest_vm::vm::Vm;
use kata_test::{Verdict, kata_test};
use serde_json::Value;
use tempfile::TempDir;

use agreement::disagreements;
use outside::Manager;

/// How often the manager is killed. In CI 10.
const KILLS_ENV: &str = "QAPI_EXAMPLE_KILLS";

/// How often a manager may be asked to take what has come, before it must agree.
const SETTLES: usize = 3;

/// As in the example: 4 threads, 16 ports, and one for the disk that no guest sees.
const THREADS: usize = 4;
const PORTS: usize = 17;
const DISKS: usize = 16;

fn qemu_and_guest() -> Verdict {
    match Manifest::find() {
        Ok(manifest) => Verdict::met(format!("QEMU {}", manifest.qemu.version), "artifacts.json"),
        Err(error) => Verdict::unmet(error.to_string(), "artifacts.json"),
    }
}

/// A VM that outlives its managers, and their files.
struct Bench {
    vm: Arc<Vm>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let names = (0..DISKS)
            .map(|n| format!("disk{n}"))
            .chain(["stuck".into()]);
        for name in names {
            std::fs::File::create(folder.path().join(name))?.set_len(1 << 20)?;
        }
        let config = HypervisorConfig {
            iothreads: IoThreads {
                count: THREADS,
                ..IoThreads::default()
            },
            ..HypervisorConfig::default()
        };
        let socket = folder.path().join("qmp");
        let socket = socket.to_str().context("the folder's name is not UTF-8")?;
        let monitor = [
            "-chardev".to_owned(),
            format!("socket,id=manager,path={socket},server=on,wait=off"),
            "-mon".to_owned(),
            "chardev=manager,mode=control".to_owned(),
        ];
        let spec = VmSpec {
            root_ports: PORTS,
            arguments: monitor.map(Into::into).to_vec(),
            ..VmSpec::new(config)
        };
        let vm = Arc::new(Vm::boot(&Manifest::find()?, &spec)?);
        Ok(Self { vm, folder })
    }

    fn manager(&self, what: &str) -> Result<Manager> {
        Manager::start(self.folder.path(), &self.state(), what, self.vm.clone())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }
}

#[kata_test(when = qemu_and_guest, timeout = "300s")]
fn a_detach_that_is_never_answered_delays_no_other() -> Result<()> {
    let bench = Bench::new()?;
    let mut manager = bench.manager("isolation")?;
    let report = manager.report()?;
    println!("{report}");
    ensure!(
        report["is_pending"] == true,
        "the detach is not pending: {report}"
    );
    let median = |key: &str| -> Result<u64> {
        let mut all = serde_json::from_value::<Vec<u64>>(report[key].clone())?;
        all.sort_unstable();
        Ok(all[all.len() / 2])
    };
    let (alone, beside) = (median("alone_ms")?, median("beside_ms")?);
    println!("15 disks: {alone} ms, and {beside} ms beside a detach that is never answered");
    ensure!(
        beside * 2 <= alone * 3,
        "{beside} ms is more than 1.5 of {alone} ms"
    );
    Ok(())
}

#[kata_test(when = qemu_and_guest, timeout = "1200s")]
fn a_killed_manager_goes_on_in_agreement_with_qemu() -> Result<()> {
    let kills = std::env::var(KILLS_ENV).map_or(Ok(10), |text| text.parse())?;
    let bench = Bench::new()?;
    let mut random = u64::from(std::process::id()) | 1;
    let (mut interrupted, mut differed, mut settled, mut attached) = (0, 0, 0, 0);
    for kill in 0..=kills {
        let mut manager = bench.manager("resume")?;
        let report = manager
            .report()
            .with_context(|| format!("after kill {kill}"))?;
        differed += usize::from(has_corrections(&report));
        let mut state = read(&bench.state())?;
        let mut found = disagreements(&bench.vm, &state)?;
        // The guest may eject a disk late, and the manager has its event by the next settle.
        for _ in 0..SETTLES {
            if found.is_empty() {
                break;
            }
            let report = manager.settle()?;
            println!("after kill {kill}: {}; settled: {report}", found.join("; "));
            settled += 1;
            state = read(&bench.state())?;
            found = disagreements(&bench.vm, &state)?;
        }
        ensure!(
            found.is_empty(),
            "after kill {kill}: {}\n{report}",
            found.join("\n")
        );
        attached += state["devices"].as_array().map_or(0, Vec::len);
        if kill == kills {
            break;
        }
        manager.go()?;
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The moment is what the test is about.
        std::thread::sleep(Duration::from_micros(random % 1_500_000));
        manager.kill()?;
        let state = read(&bench.state())?;
        let devices = state["devices"].as_array().context("no devices")?;
        interrupted += usize::from(
            devices
                .iter()
                .any(|device| device[1]["state"] != "attached"),
        );
    }
    println!(
        "{kills} kills, 0 disagreements: {interrupted} in the middle of a removal or an opened node, \
         {differed} with differences that were corrected, {settled} settles after a late eject, {attached} disks seen attached"
    );
    ensure!(
        interrupted > kills / 4,
        "no kill came in the middle of anything"
    );
    Ok(())
}

/// Whether a record was corrected: QEMU always has devices that are not the manager's.
fn has_corrections(report: &Value) -> bool {
    let all = report["differences"].as_array().into_iter().flatten();
    let mut texts = all.filter_map(Value::as_str);
    texts.any(|text| !text.ends_with("which is not recorded"))
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

kata_test::main!();
