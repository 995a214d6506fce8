//! A VM as a place of kata-test's runner: tests that this host cannot run are run in a guest whose
//! kernel is that of a Debian suite, as root, without a network.
//!
//! 1. [`Supply`] is what such a VM is made of, by suite: the kernel, and a boot image with all of its
//!    modules.
//! 2. `parcel` packs what a test binary needs: itself with its libraries (`closure`), the programs of
//!    its package, and the files of its package's folder. The archive is a raw disk.
//! 3. `guest` restores the VM (or boots it, the first time), plugs the disk to an IOThread of it, and
//!    has the agent unpack it. Files
//!    have the paths that they have on the host, and are copies: what a test writes to them is lost.
//! 4. `run` runs the very same harness there, with `--exact`. Its output and its records come back
//!    while it runs, so that a guest that dies or hangs takes one test with it: the one it was at.
//!
//! # Isolation
//!
//! A test that is root in a guest can take over the guest with its agent. It can leave a process, a
//! core handler or a forged program behind, and end what runs in any way that it likes.
//! So a VM serves one binary only: it lists the binary's tests, runs one batch of them, and is thrown
//! away. A batch is all tests of a binary but those that ask for an `own_machine`, each of which is one
//! of its own. Whatever such a test does, it can forge the outcomes of its own batch and no others:
//! `records` drops every record of a test that was not in the batch, and no error of a guest counts for
//! more than the batch that ran there.
//!
//! A VM that dies before any test runs is started a second time.
//!
//! | a test finds | what |
//! |---|---|
//! | `/` | a file system in memory, which can be pivoted; mounts are private to each binary's run |
//! | `/sys/fs/cgroup` | cgroup v2 |
//! | `/lib/modules` | all modules of the kernel, and `/sbin/modprobe`, which the kernel uses too |
//! | its working directory | a copy of its package's folder, without build outputs and hidden folders |
//! | its variables | those of the caller, but for what names things of the host (`PATH`, `HOME`, `TMPDIR`, …) and what sounds like a secret (`GITHUB_TOKEN`, `API_KEY`, …) |
//! | `KATA_TEST_SCRATCH_DISK` | the node of an empty disk of 64 MiB |

mod closure;
mod environment;
mod guest;
mod parcel;
mod records;
mod run;
mod supply;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use kata_test_runner::{Binary, Job, LIST_ARGUMENTS, Listing, Place, PlaceError, StopToken};

use guest::Guest;
use guest_vm::artifacts::Store;
use guest_vm::guest::protocol::{Exit, Notice, Program, Stream};
use guest_vm::scratch::remove_orphans;
use guest_vm::warm::WarmStore;

pub use closure::ClosureError;
pub use guest::GuestError;
pub use parcel::ParcelError;
pub use supply::{SUITES, Supply, SupplyError};

/// How long a binary may take to list its tests, on a CPU that may be emulated.
const LIST_SPAN: Duration = Duration::from_secs(300);

/// How much a binary may print for its list, in bytes. A test takes some 300.
const LIST_LIMIT: usize = 4 << 20;

/// A VM in which tests are run: one after the other, restored from the same template, each for one
/// binary.
#[derive(Debug)]
pub struct VmPlace {
    name: String,
    supply: Supply,
    warm: WarmStore,
    /// Where disks are made.
    scratch: PathBuf,
    /// The guest of the binary that was last listed. No test has run in it.
    listed: Option<Guest>,
    /// How fast each binary runs here.
    speeds: HashMap<PathBuf, f64>,
    /// How many programs have run here, so that records have names of their own.
    runs: usize,
}

impl VmPlace {
    /// Makes a place called `name` of these supplies, with its disks below `scratch`. Its VMs are
    /// restored from what `warm` has, or gets by the first of them.
    pub fn new(name: &str, supply: Supply, warm: WarmStore, scratch: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            supply,
            warm,
            scratch,
            listed: None,
            speeds: HashMap::new(),
            runs: 0,
        }
    }

    /// Makes the place `vm:SUITE`, with its files in a store.
    pub fn of_suite(suite: &str, supply: Supply, store: &Store) -> Self {
        let scratch = store.base().join("place-scratch");
        // What a killed run left goes now, whether or not this one starts a guest. It can also go later.
        let _ = remove_orphans(&scratch);
        Self::new(
            &format!("vm:{suite}"),
            supply,
            WarmStore::of(store),
            scratch,
        )
    }

    /// Returns a guest with what the binary needs in it, in which no test has run.
    fn guest_for(&mut self, binary: &Binary, questions: &[String]) -> Result<Guest, GuestError> {
        // An old one has to go first: two need twice the memory.
        match self.listed.take().filter(|guest| guest.can_run(binary)) {
            Some(guest) => Ok(guest),
            None => Guest::start(&self.supply, &self.warm, &self.scratch, binary, questions),
        }
    }

    /// What a binary prints for [`LIST_ARGUMENTS`], and how it ends.
    fn ask(
        &mut self,
        binary: &Binary,
        questions: &[String],
        stop: StopToken<'_>,
    ) -> Result<(Exit, [Vec<u8>; 2]), GuestError> {
        let guest = self.guest_for(binary, questions)?;
        let mut program = guest.program(&LIST_ARGUMENTS.map(str::to_owned), LIST_SPAN);
        environment::name_place(&mut program.environment, &self.name);
        let said = collect(&guest, &program, stop)?;
        self.listed = Some(guest);
        Ok(said)
    }
}

impl Place for VmPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> String {
        let kernel = &self.supply.manifest.guest.kernel_release;
        format!("a VM with kernel {kernel}, as root")
    }

    fn cost(&self) -> Duration {
        self.supply.start_estimate()
    }

    fn key(&self) -> Option<String> {
        Some(self.supply.key())
    }

    fn list(
        &mut self,
        binary: &Binary,
        questions: &[String],
        stop: StopToken<'_>,
    ) -> Result<String, PlaceError> {
        let (exit, [stdout, stderr]) = with_second_try(stop, || self.ask(binary, questions, stop))?;
        if exit != Exit::Code(0) {
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            return Err(format!(
                "{} does not list its tests there ({exit:?}): {said}",
                binary.id
            )
            .into());
        }
        let text = String::from_utf8_lossy(&stdout).into_owned();
        if let Ok(listing) = Listing::parse(&text) {
            self.speeds
                .insert(binary.executable.clone(), listing.steps_per_ms);
        }
        Ok(text)
    }

    fn run(&mut self, job: &Job<'_>, screen: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        run::run(self, job, screen)
    }

    fn rest(&mut self) {
        self.listed = None;
    }
}

/// Does something with a guest before tests run in it. One that dies then, as when its QEMU is killed,
/// dies by no test: there is a second try.
fn with_second_try<T>(
    stop: StopToken<'_>,
    mut attempt: impl FnMut() -> Result<T, GuestError>,
) -> Result<T, GuestError> {
    match attempt() {
        Err(error) if error.is_of_the_guest() && !stop.is_requested() => attempt(),
        other => other,
    }
}

/// Runs a program and keeps what it says: standard output, and standard error.
fn collect(
    guest: &Guest,
    program: &Program,
    stop: StopToken<'_>,
) -> Result<(Exit, [Vec<u8>; 2]), GuestError> {
    let mut said = [Vec::new(), Vec::new()];
    let exit = guest.run_until(stop, program, &mut |notice| {
        if let Notice::Output { stream, bytes } = notice {
            let index = usize::from(stream == Stream::Stderr);
            said[index].extend(bytes.0);
        }
        match said.iter().map(Vec::len).sum::<usize>() > LIST_LIMIT {
            true => ControlFlow::Break(format!("its list has more than {LIST_LIMIT} bytes")),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok((exit, said))
}
