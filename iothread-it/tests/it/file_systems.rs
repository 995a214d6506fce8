//! A disk with a file system, which the guest mounts.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::guest::protocol::{Exit, Notice, Program, User};
use guest_vm::qemu::Topology;
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement};
use kata_test::Verdict;

use crate::evidence::{only, under_load};
use crate::fixture::{Bench, on_each_machine, serial, shape, soon};

on_each_machine!(
    ; needs (all(command = "mke2fs", command = "e2fsck", when = crate::file_systems::guest_with_tools)):
        a_file_system_is_unmounted_and_mounted_from_another_thread,
        a_frozen_file_system_is_whole_on_another_thread,
        a_mounted_file_system_loses_its_disk_and_is_whole_again,
);

/// How long a program in the guest may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Writes files, and prints their digest.
const WRITE: &str = "dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null && mkdir /mnt/folder && \
                     cp /mnt/file /mnt/folder/copy && sync && sha256sum /mnt/file";

/// What a script prints when the disk may be detached. It then reads a line.
const READY: &str = "ready";
/// Reads the line that the case sends, and fails if it is another.
const READ_LINE: &str = "read line && test $line = go";

/// Compares the copy and prints the digest.
const READ: &str = "cmp /mnt/file /mnt/folder/copy && sha256sum /mnt/file";

/// Whether there is a guest with the modules of file systems, and tools.
pub(crate) fn guest_with_tools() -> Verdict {
    const SOURCE: &str = "artifacts.json";
    match Manifest::find() {
        Ok(manifest) if manifest.guest_with_tools.is_some() => {
            Verdict::met(format!("QEMU {}", manifest.qemu.version), SOURCE)
        }
        Ok(_) => Verdict::unmet(
            "the guest has no tools: the package busybox-static was not available",
            SOURCE,
        ),
        Err(error) => Verdict::unmet(error.to_string(), SOURCE),
    }
}

fn a_file_system_is_unmounted_and_mounted_from_another_thread(topology: Topology) -> Result<()> {
    with_file_system(topology, |bench, disk| {
        let (first, second) = (IoThreadId::indep(0), IoThreadId::indep(3));
        bench.attach(disk, &Placement::Pinned(first.clone()))?;
        only(&first, &under_load(&bench.vm, disk, 0)?)?;
        let written = run(bench, disk, &format!("{WRITE} && umount /mnt"))?;
        bench.detach(disk)?;
        is_clean(disk)?;
        bench.attach(disk, &Placement::Pinned(second.clone()))?;
        only(&second, &under_load(&bench.vm, disk, 0)?)?;
        let read = run(bench, disk, &format!("{READ} && umount /mnt"))?;
        ensure!(read == written, "written {written}, read {read}");
        bench.detach(disk)?;
        is_clean(disk)
    })
}

/// What is synced is on the image, and a frozen file system writes nothing more: it is whole for the next one that
/// mounts it.
fn a_frozen_file_system_is_whole_on_another_thread(topology: Topology) -> Result<()> {
    with_file_system(topology, |bench, disk| {
        bench.attach(disk, &Placement::Pinned(IoThreadId::indep(0)))?;
        let script = format!("{WRITE} && fsfreeze --freeze /mnt && echo {READY} && {READ_LINE}");
        let output = detached_while_it_runs(bench, disk, &script)?;
        let (written, _) = output.split_once(READY).context("it is not frozen")?;
        ensure!(!has_open_journal(disk)?, "it is not as after a freeze");
        is_clean(disk)?;
        is_whole_on(bench, disk, 3, written)
    })
}

/// The guest's kernel releases a disk whose file system is mounted. Later writes fail, and what was synced is on the
/// image.
fn a_mounted_file_system_loses_its_disk_and_is_whole_again(topology: Topology) -> Result<()> {
    with_file_system(topology, |bench, disk| {
        bench.attach(disk, &Placement::Pinned(IoThreadId::indep(0)))?;
        let script = format!(
            "{WRITE} && echo {READY} && {READ_LINE} || exit; \
             if (echo late > /mnt/late && sync) 2>/dev/null && dd if=/mnt/late iflag=direct 2>/dev/null; \
             then echo written; else echo failed; fi"
        );
        let output = detached_while_it_runs(bench, disk, &script)?;
        let (written, after) = output.split_once(READY).context("it is not mounted")?;
        ensure!(after.trim() == "failed", "after the detach: {after}");
        ensure!(has_open_journal(disk)?, "it is as after an unmount");
        is_whole_on(bench, disk, 3, written)
    })
}

/// Attaches the disk to another thread, and checks its files and the image.
fn is_whole_on(bench: &mut Bench, disk: &DiskSpec, thread: usize, written: &str) -> Result<()> {
    let thread = IoThreadId::indep(thread);
    bench.attach(disk, &Placement::Pinned(thread.clone()))?;
    only(&thread, &under_load(&bench.vm, disk, 0)?)?;
    let read = run(bench, disk, &format!("{READ} && umount /mnt"))?;
    ensure!(
        read.trim() == written.trim(),
        "written {written}, read {read}"
    );
    bench.detach(disk)?;
    is_clean(disk)
}

/// Runs a case with a disk that has a file system.
fn with_file_system(
    topology: Topology,
    case: impl FnOnce(&mut Bench, &DiskSpec) -> Result<()>,
) -> Result<()> {
    let mut manifest = Manifest::find()?;
    let guest = manifest.guest_with_tools.clone();
    manifest.guest = guest.context("the guest has no tools")?;
    let mut shape = shape(topology)?;
    // For all modules of the kernel.
    shape.config.memory_mib = 512;
    Bench::run_with_artifacts(&manifest, &shape, |bench| {
        let disk = bench.disk("disk0")?;
        host(
            Command::new("mke2fs")
                .args(["-q", "-t", "ext4"])
                .arg(&disk.path),
        )?;
        let nobody = User {
            uid: 65534,
            gid: 65534,
        };
        bench.vm.agent().set_up_rootfs(nobody, soon())?;
        case(bench, &disk)?;
        bench.still_works()
    })
}

/// Mounts the disk in the guest and runs a script. Returns its output.
fn run(bench: &Bench, disk: &DiskSpec, script: &str) -> Result<String> {
    let mut output = String::new();
    let program = program(bench, disk, script)?;
    let exit = bench.vm.agent().run(&program, &mut |notice| {
        append(&mut output, notice);
        ControlFlow::Continue(())
    })?;
    ensure!(exit == Exit::Code(0), "{exit:?}: {output}");
    Ok(output)
}

/// Mounts the disk in the guest, runs a script until it is ready, detaches the disk, and lets the script go on. Returns
/// its output.
fn detached_while_it_runs(bench: &mut Bench, disk: &DiskSpec, script: &str) -> Result<String> {
    let program = program(bench, disk, script)?;
    let (hotplug, qmp, agent) = bench.vm.parts();
    let running = agent.start(&program)?;
    let (ready, is_ready) = mpsc::channel();
    let output = std::thread::scope(|scope| {
        let followed = scope.spawn(|| -> Result<String> {
            let mut output = String::new();
            let exit = running.follow(&mut |notice| {
                append(&mut output, notice);
                if output.contains(READY) {
                    let _ = ready.send(());
                }
                ControlFlow::Continue(())
            })?;
            ensure!(exit == Exit::Code(0), "{exit:?}: {output}");
            Ok(output)
        });
        let detached = match is_ready.recv_timeout(TIMEOUT) {
            Ok(()) => hotplug.detach(qmp, &disk.id, soon()).map_err(Into::into),
            Err(_) => Err(anyhow!("the script is not ready within {TIMEOUT:?}")),
        };
        // The script ends in any case. Its exit code says that it has read the line; the program may have ended before
        // the agent's answer.
        let input = running.input(b"go\n");
        let Ok(output) = followed.join() else {
            bail!("the thread that follows the script panicked");
        };
        let output = output?;
        detached.with_context(|| output.clone())?;
        input?;
        Ok(output)
    })?;
    drop(running);
    ensure!(
        bench.vm.pool().lease_of(&disk.id).is_none(),
        "it still has a lease"
    );
    let disks = bench.vm.agent().disks(soon())?;
    let is_it = |found: &guest_vm::guest::protocol::Disk| found.serial == serial(&disk.id);
    ensure!(!disks.iter().any(is_it), "the guest still lists {disks:?}");
    Ok(output)
}

/// Each has mounts of its own, which end with it.
fn program(bench: &Bench, disk: &DiskSpec, script: &str) -> Result<Program> {
    let disks = bench.vm.agent().disks(soon())?;
    let found = disks.iter().find(|found| found.serial == serial(&disk.id));
    let name = &found.context("the guest has no such disk")?.name;
    let script = format!("mount -t ext4 /dev/{name} /mnt && {script}");
    Ok(Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script],
        environment: vec![("PATH".into(), "/bin:/sbin:/usr/bin:/usr/sbin".into())],
        directory: "/".into(),
        timeout_ms: u64::try_from(TIMEOUT.as_millis())?,
        joins_output: true,
        attached: true,
        ..Program::default()
    })
}

fn append(output: &mut String, notice: Notice) {
    if let Notice::Output { bytes, .. } = notice {
        output.push_str(&String::from_utf8_lossy(&bytes.0));
    }
}

/// Returns whether the file system has to be recovered from its journal: it was neither unmounted nor frozen
/// (`needs_recovery` of ext4's superblock).
fn has_open_journal(disk: &DiskSpec) -> Result<bool> {
    const INCOMPATIBLE_FEATURES: u64 = 1024 + 0x60;
    const RECOVER: u32 = 4;
    let mut features = [0; 4];
    File::open(&disk.path)?.read_exact_at(&mut features, INCOMPATIBLE_FEATURES)?;
    Ok(u32::from_le_bytes(features) & RECOVER != 0)
}

/// Checks the image on the host, without repairs.
fn is_clean(disk: &DiskSpec) -> Result<()> {
    host(Command::new("e2fsck").args(["-f", "-n"]).arg(&disk.path))
}

fn host(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let text = [&*out.stdout, &*out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    ensure!(out.status.success(), "{command:?}: {}: {text}", out.status);
    Ok(())
}
