//! Nothing is left of a VM: not when it is shut down, not when it is dropped, and not when its
//! owner is killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::process::ProcessId;
use guest_vm::qemu::Topology;
use iothread_pool::Placement;

use crate::fixture::{Bench, on_each_machine, soon};

/// Set for the process that is to be killed.
const OWNER_ENV: &str = "IOTHREAD_IT_TEST_OWNER";

/// What the owner says before the number of its QEMU.
const OWNS: &str = "owns QEMU ";

on_each_machine!(
    a_shutdown_leaves_nothing,
    a_dropped_vm_leaves_nothing,
    a_killed_owner_leaves_no_qemu,
);

fn a_shutdown_leaves_nothing(topology: Topology) -> Result<()> {
    let mut bench = Bench::boot(topology)?;
    let disk = bench.disk("disk0")?;
    bench.attach(&disk, &Placement::First)?;
    let qemu = bench.vm.process();
    ensure!(qemu.is_alive());
    let exit = bench.vm.shutdown()?;
    ensure!(exit.success(), "QEMU ended with {exit}");
    ensure!(!qemu.is_alive(), "QEMU is left");
    Ok(())
}

/// The first VM opens what a process keeps: the locks of what it uses of the cache.
fn a_dropped_vm_leaves_nothing(topology: Topology) -> Result<()> {
    boot_and_drop(topology)?;
    let kept = descriptors()?;
    boot_and_drop(topology)?;
    let deadline = soon();
    loop {
        let mut left = descriptors()?;
        for kept in &kept {
            if let Some(position) = left.iter().position(|left| left == kept) {
                left.swap_remove(position);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(!deadline.has_passed(), "open descriptors: {left:?}");
        // The threads that read close theirs at the end of their channels, which is no event here.
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn boot_and_drop(topology: Topology) -> Result<()> {
    let bench = Bench::boot(topology)?;
    let qemu = bench.vm.process();
    drop(bench);
    ensure!(!qemu.is_alive(), "QEMU is left");
    Ok(())
}

/// The owner is this test, run once more in a harness of its own. The harness gets SIGKILL, so
/// neither it nor its test can clean up.
fn a_killed_owner_leaves_no_qemu(topology: Topology) -> Result<()> {
    if std::env::var_os(OWNER_ENV).is_some() {
        return own_a_vm(topology);
    }
    let records = tempfile::tempdir()?;
    let mut harness = Command::new(std::env::current_exe()?)
        .args(["--exact", "--nocapture"])
        .arg(format!(
            "ownership::{topology}::a_killed_owner_leaves_no_qemu"
        ))
        .env(OWNER_ENV, "1")
        .env("KATA_TEST_RECORD_DIR", records.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let qemu = qemu_of(&mut harness);
    harness.kill()?;
    harness.wait()?;
    ensure!(qemu?.wait_exit(soon())?, "QEMU is left");
    Ok(())
}

/// Reads the harness's output up to the number of its QEMU.
fn qemu_of(harness: &mut Child) -> Result<ProcessId> {
    let output = harness
        .stdout
        .take()
        .context("the harness's output is a pipe")?;
    let mut before = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(pid) = line.strip_prefix(OWNS) {
            return ProcessId::of(pid.parse()?).with_context(|| format!("QEMU {pid} has ended"));
        }
        before.push_str(&line);
        before.push('\n');
    }
    anyhow::bail!("the owner booted no VM; its output:\n{before}")
}

/// Boots a VM, prints the number of its process, and waits to be killed. This is no `park_timeout`,
/// which returns at once if the boot left a token of `unpark`.
fn own_a_vm(topology: Topology) -> Result<()> {
    let bench = Bench::boot(topology)?;
    println!("{OWNS}{}", bench.vm.process().pid());
    std::thread::sleep(Duration::from_secs(600));
    anyhow::bail!("this process was not killed")
}

/// What the open descriptors of this process refer to. A socket or pipe has a number of its own.
fn descriptors() -> Result<Vec<PathBuf>> {
    let folder = std::fs::read_dir("/proc/self/fd")?;
    let open: Vec<PathBuf> = folder
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    // The folder's own is closed by now, as another may be.
    Ok(open
        .iter()
        .filter_map(|path| path.read_link().ok())
        .collect())
}
