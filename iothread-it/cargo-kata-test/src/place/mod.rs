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
//! Tests of a binary share a VM, but for those that ask for an `own_machine`. A VM that dies before any
//! test runs is started a second time.
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

use kata_test_runner::{Binary, Job, LIST_ARGUMENTS, Listing, Place, PlaceError, Stop};

use guest::Guest;
use guest_vm::artifacts::Store;
use guest_vm::guest::protocol::{Exit, Notice, Program, Stream};
use guest_vm::scratch::sweep_in;
use guest_vm::warm::WarmStore;

pub use closure::ClosureError;
pub use guest::GuestError;
pub use parcel::ParcelError;
pub use supply::{SUITES, Supply, SupplyError};

/// How long a binary may take to list its tests, on a CPU that may be emulated.
const LIST_SPAN: Duration = Duration::from_secs(300);

/// How much a binary may print for its list, in bytes. A test takes some 300.
const LIST_LIMIT: usize = 4 << 20;

/// A VM in which tests are run. It is started when it is first needed, and again when a test has
/// taken it with it.
#[derive(Debug)]
pub struct VmPlace {
    name: String,
    supply: Supply,
    warm: WarmStore,
    /// Where disks are made.
    scratch: PathBuf,
    guest: Option<Guest>,
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
            guest: None,
            speeds: HashMap::new(),
            runs: 0,
        }
    }

    /// Makes the place `vm:SUITE`, with its files in a store.
    pub fn of_suite(suite: &str, supply: Supply, store: &Store) -> Self {
        let scratch = store.base().join("place-scratch");
        // What a killed run left goes now, whether or not this one starts a guest. It can also go later.
        let _ = sweep_in(&scratch);
        Self::new(
            &format!("vm:{suite}"),
            supply,
            WarmStore::of(store),
            scratch,
        )
    }

    /// The guest, with what the binary needs in it. One that dies before any test runs, as when its
    /// QEMU is killed, is no test's doing: there is a second try.
    fn occupied(
        &mut self,
        binary: &Binary,
        wishes: &[String],
        stop: Stop<'_>,
    ) -> Result<&Guest, GuestError> {
        match self.occupy(binary, wishes) {
            Err(error) if error.is_of_the_guest() && !stop.is_asked() => {
                self.guest = None;
                self.occupy(binary, wishes)?;
            }
            other => other?,
        }
        Ok(self.guest.as_ref().expect("it was started just now"))
    }

    fn occupy(&mut self, binary: &Binary, wishes: &[String]) -> Result<(), GuestError> {
        self.leave_if(|guest| !guest.is_well());
        if !self.started()?.deliver(binary)? {
            self.guest = None;
            self.started()?.deliver(binary)?;
        }
        self.started()?.load_modules(wishes);
        Ok(())
    }

    /// The guest, which is started if there is none. An old one has to go first: two need twice the
    /// memory.
    fn started(&mut self) -> Result<&mut Guest, GuestError> {
        match &mut self.guest {
            Some(guest) => Ok(guest),
            none => Ok(none.insert(Guest::start(&self.supply, &self.warm, &self.scratch)?)),
        }
    }

    /// Parts with the guest, if there is one of this kind.
    fn leave_if(&mut self, is_wanted: impl FnOnce(&Guest) -> bool) {
        if self.guest.as_ref().is_some_and(is_wanted) {
            self.guest = None;
        }
    }

    /// What a binary prints for [`LIST_ARGUMENTS`], and how it ends.
    fn ask(
        &mut self,
        binary: &Binary,
        wishes: &[String],
        stop: Stop<'_>,
    ) -> Result<(Exit, [Vec<u8>; 2]), GuestError> {
        let name = self.name.clone();
        let guest = self.occupied(binary, wishes, stop)?;
        let mut program = guest.program(binary, &LIST_ARGUMENTS.map(str::to_owned), LIST_SPAN);
        environment::name_place(&mut program.environment, &name);
        collect(guest, &program, stop)
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
        wishes: &[String],
        stop: Stop<'_>,
    ) -> Result<String, PlaceError> {
        let is_gone = |guest: &Guest| !guest.is_well() && !stop.is_asked();
        let asked = match self.ask(binary, wishes, stop) {
            // No test ran, so there is a second try here too.
            Err(_) if self.guest.as_ref().is_some_and(is_gone) => self.ask(binary, wishes, stop),
            asked => asked,
        };
        let (exit, [stdout, stderr]) = asked?;
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
        self.guest = None;
    }
}

/// Runs a program and keeps what it says: standard output, and standard error.
fn collect(
    guest: &Guest,
    program: &Program,
    stop: Stop<'_>,
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
