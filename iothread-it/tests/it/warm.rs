//! Restored guests: each is another, none writes into what it was made from, and whatever goes
//! wrong with a template costs a boot and no more.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use guest_vm::artifacts::{Manifest, Store};
use guest_vm::guest::protocol::{BootId, Reseed};
use guest_vm::process::ProcessId;
use guest_vm::qemu::Topology;
use guest_vm::vm::{Start, Vm};
use guest_vm::warm::{WarmError, WarmStore};
use qmp_client::QemuVersion;
use qmp_client::command::{QueryVersion, SystemReset};
use qmp_client::wait::Deadline;
use sha2::{Digest, Sha256};

use crate::fixture::{Bench, on_each_machine, scratch, shape, soon};

/// Names the store of the process that is to be killed.
const STORE_ENV: &str = "IOTHREAD_IT_TEST_STORE";

on_each_machine!(
    guests_of_one_template_differ,
    no_guest_writes_into_its_template,
    killed_creator_leaves_no_template,
    store_of_another_user_causes_a_cold_boot,
);

fn guests_of_one_template_differ(topology: Topology) -> Result<()> {
    let store = store()?;
    let mut seen = BTreeSet::new();
    for number in 0..2 {
        let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let vm = restored(topology, &store)?;
        ensure!(number == 0 || !vm.made_template(), "the first has made it");
        let identity = vm.agent().identity(soon())?;
        // The template's clock stood still since it was saved.
        let clock = u128::from(identity.realtime_ns);
        ensure!(clock >= before, "the guest is {} ns behind", before - clock);
        ensure!(identity.boot_id == vm.greeting().boot_id.0, "{identity:?}");
        // What comes next differs too.
        let next = vm.agent().identity(soon())?;
        ensure!(
            next.boot_id == identity.boot_id,
            "{identity:?}, then {next:?}"
        );
        for one in [
            identity.boot_id,
            format!("{:?}", identity.random),
            format!("{:?}", next.random),
        ] {
            ensure!(!seen.contains(&one), "two guests have {one}");
            seen.insert(one);
        }
        takes_the_host_s_clock(&vm)?;
        vm.shutdown()?;
    }
    Ok(())
}

/// The clock of a new template is almost right without being set, so the guest's clock is set to
/// tomorrow.
fn takes_the_host_s_clock(vm: &Vm) -> Result<()> {
    const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
    let today = vm.agent().identity(soon())?;
    let tomorrow = today.realtime_ns + DAY_NS;
    let reseed = Reseed {
        realtime_ns: tomorrow,
        entropy: [0; 32],
    };
    let boot_id = BootId(today.boot_id);
    vm.agent().reseed(&boot_id, &reseed, soon())?;
    let identity = vm.agent().identity(soon())?;
    ensure!(
        identity.realtime_ns >= tomorrow,
        "{identity:?}, and not {tomorrow}"
    );
    Ok(())
}

/// A disk's data goes through the guest's memory, and a reset fills all of it anew.
fn no_guest_writes_into_its_template(topology: Topology) -> Result<()> {
    let store = store()?;
    let key = Vm::template_key(&Manifest::find()?, &shape(topology)?)?;
    let ram = store.ram_of(&key.context("it has a disk from the start")?);
    let mut bench = Bench::with(restored(topology, &store)?)?;
    let qemu = bench.vm.qmp().execute(&QueryVersion {}, soon())?.qemu;
    let writable = writable_descriptors(&ram, bench.vm.process())?;
    // An older one opens it for both, and maps it privately.
    let expected = usize::from(qemu < QemuVersion::OPENS_RAM_READ_ONLY);
    ensure!(writable == expected, "{writable} can be written to");
    let before = sha256(&ram)?;
    bench.still_works()?;
    let boot_id = bench.vm.greeting().boot_id.clone();
    bench.vm.qmp().execute(&SystemReset {}, soon())?;
    bench.vm.agent().greeting_after(&boot_id, soon())?;
    bench.still_works()?;
    bench.vm.shutdown()?;
    ensure!(sha256(&ram)? == before, "{} was written to", ram.display());
    Ok(())
}

/// How many descriptors a process has of a file with which it can write to it.
fn writable_descriptors(file: &Path, process: ProcessId) -> Result<usize> {
    let process = PathBuf::from(format!("/proc/{}", process.pid()));
    let (mut all, mut writable) = (0, 0);
    for entry in std::fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        if std::fs::read_link(entry.path())? != file {
            continue;
        }
        let info = std::fs::read_to_string(process.join("fdinfo").join(entry.file_name()))?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.context("it has no flags")?.trim(), 8)?;
        all += 1;
        writable += usize::from(flags & 0o3 != 0);
    }
    ensure!(all > 0, "it has not opened {}", file.display());
    Ok(writable)
}

/// The maker is this test, run once more in a harness of its own, which gets SIGKILL while a guest
/// boots on the memory of a template. The next process uses nothing of it.
fn killed_creator_leaves_no_template(topology: Topology) -> Result<()> {
    if let Some(folder) = std::env::var_os(STORE_ENV) {
        restored(topology, &WarmStore::at(folder.into()))?;
        bail!("this process was not killed");
    }
    let scratch = scratch()?;
    let store = WarmStore::at(scratch.path().join("warm"));
    let records = tempfile::tempdir()?;
    let module = topology.as_str().replace('-', "_");
    let mut harness = Command::new(std::env::current_exe()?)
        .args(["--exact", "--nocapture"])
        .arg(format!("warm::{module}::killed_creator_leaves_no_template"))
        .env(STORE_ENV, store.folder())
        .env("KATA_TEST_RECORD_DIR", records.path())
        .stdout(Stdio::null())
        .spawn()?;
    let draft = booting(&store, soon());
    harness.kill()?;
    harness.wait()?;
    let draft = draft?;
    ensure!(draft.exists(), "nothing was left for anybody to sweep");

    let mut bench = Bench::with(restored(topology, &store)?)?;
    ensure!(!draft.exists(), "{} is left", draft.display());
    bench.still_works()?;
    bench.vm.shutdown()?;
    Ok(())
}

/// Waits until a guest has filled some of the memory that is to be a template's.
fn booting(store: &WarmStore, deadline: Deadline) -> Result<PathBuf> {
    while !deadline.has_passed() {
        let drafts = std::fs::read_dir(store.folder().join("drafts/iothread-it-scratch"));
        for draft in drafts.into_iter().flatten().flatten() {
            let ram = draft.path().join("ram");
            if ram
                .metadata()
                .is_ok_and(|ram| ram.blocks() * 512 > 32 << 20)
            {
                return Ok(draft.path());
            }
        }
        // Writes to a mapped file cause no inotify event.
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no guest booted within {deadline}")
}

/// Others could have put anything there.
fn store_of_another_user_causes_a_cold_boot(topology: Topology) -> Result<()> {
    let scratch = scratch()?;
    let store = WarmStore::at(scratch.path().join("warm"));
    std::fs::create_dir(store.folder())?;
    std::fs::set_permissions(store.folder(), Permissions::from_mode(0o777))?;
    let vm = Vm::restore_or_boot(&Manifest::find()?, &shape(topology)?, &store)?;
    ensure!(
        matches!(
            vm.start(),
            Start::ColdFallback(WarmError::NotPrivate { .. })
        ),
        "{:?}",
        vm.start()
    );
    let notes = store.take_fallback_notes();
    ensure!(
        notes
            .iter()
            .any(|why| why.contains("belongs to another user")),
        "{notes:?}"
    );
    let mut bench = Bench::with(vm)?;
    bench.still_works()?;
    bench.vm.shutdown()?;
    Ok(())
}

/// The templates of this user, also in a run that goes without.
fn store() -> Result<WarmStore> {
    Ok(WarmStore::of(&Store::of_user()?))
}

fn restored(topology: Topology, store: &WarmStore) -> Result<Vm> {
    let vm = Vm::restore_or_boot(&Manifest::find()?, &shape(topology)?, store)?;
    match vm.start() {
        Start::Restored => Ok(vm),
        Start::ColdFallback(why) => bail!("it was booted: {why:?}"),
        Start::Cold => bail!("it was booted"),
    }
}

fn sha256(path: &Path) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hash.finalize().to_vec()),
            length => hash.update(&part[..length]),
        }
    }
}
