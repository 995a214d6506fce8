//! A VM as a place of kata-test's runner: the tests run as root, without a network, under another kernel.
//!
//! 1. [`VmArtifacts`] are what a place's VM is booted from: a kernel, and a boot image with all of its
//!    modules.
//! 2. `image` writes disk images with what a test binary needs: the binary with its shared `libraries`
//!    and the programs of its package, and the package's folder.
//! 3. `guest` restores a clone of the template (or boots the VM, if there is no template yet), attaches
//!    the images as disks, and has the guest agent mount them. Files have the same paths as on the host.
//!    Nothing is copied: the guest reads what its tests read. What a test writes to the package's folder
//!    is in the guest's memory, and is lost.
//! 4. `run` runs the test binary there, with `--exact`. Output and records are sent to the host
//!    immediately, so that a guest that crashes or hangs fails only the test that was running.
//! 5. `session` runs plain tests there, each in a process of its own; `attach` connects any program there
//!    to the streams of this process.
//! 6. `saved` saves the guest of a failed test, if the run asks for that, and restores it for a shell.
//!
//! # Isolation
//!
//! A test that is root in a guest can take over the whole guest: it can forge records and messages of
//! the guest agent, replace programs, and leave a process or a core handler behind. So a VM serves one
//! binary only: it lists the binary's tests, runs one batch of them, and is dropped. A batch is all
//! tests of a binary that may share a machine, or one that requires an `own_machine`. A hostile test
//! can forge the outcomes of its own batch, and no others:
//! `records` drops every record of a test that is not in the batch, and an error of the guest is
//! attributed to the batch that ran there.
//!
//! Several VMs of a place may run at the same time ([`Place::another`]), each with tests of its own.
//!
//! A VM that fails before a test runs is started a second time.
//!
//! # What a test finds
//!
//! | what | how it is provided |
//! |---|---|
//! | `/` | a tmpfs, which supports `pivot_root`; each run of a binary has a mount namespace of its own |
//! | `/sys/fs/cgroup` | cgroup v2, or for `cgroup = "v1"` each controller of v1 |
//! | `/lib/modules` | all modules of the kernel; `/sbin/modprobe` loads them, also for the kernel |
//! | `/bin/sh` | the host's, with its shared libraries |
//! | programs that a `command` constraint names | the host's, with their shared libraries and interpreters, but without other files that they read; they come before the next |
//! | other usual programs | those of `busybox-static` from the host's release, if QEMU or the kernel is from packages |
//! | network | the loopback interface, with 127.0.0.1 and ::1; for `network = "user"` a card with QEMU's user-mode networking, too |
//! | working directory | the package's folder, without target directories, `.git` folders and special files; it can be written, up to half of the guest's memory |
//! | `HOME`, `TMPDIR` | empty folders that the user can write |
//! | user | root, or for plain tests without privileges the caller's user and group id, 65534 if that is root; the package's folder belongs to that user |
//! | the binary, its shared libraries, the programs of its package | read-only mounts, at the same paths |
//! | `CARGO_TARGET_TMPDIR` | an empty folder |
//! | addresses of programs | not randomized: emulated programs start in a quarter of the time |
//! | environment variables | the caller's, except those that refer to the host (`PATH`, `HOME`, `TMPDIR`, …) and [secrets](kata_test_runner::Secrets) |
//! | `KATA_TEST_ARTIFACTS` | a folder whose regular files come back: up to 64 MiB a file, 128 MiB and 1000 files a test; the record names what is left out |
//! | `KATA_TEST_SCRATCH_DISK` | the device node of an empty disk of 64 MiB |

mod artifacts;
mod attach;
mod environment;
mod files;
mod guest;
mod image;
mod libraries;
mod memory;
mod received;
mod records;
mod run;
mod saved;
mod session;
mod shape;
mod terminal;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use kata_test::__runner::PLACE;
use kata_test::constraint::Demand;
use kata_test_runner::{
    Binary, Fit, Job, KVM_SUFFIX, LIST_ARGUMENTS, Listing, Place, PlaceError, Session, StopToken,
    UserKind,
};

use guest::Guest;
use guest_vm::artifacts::{Store, WorkFolder};
use guest_vm::guest::protocol::{Exit, Notice, Stream};
use guest_vm::scratch::remove_orphans;
use guest_vm::warm::WarmStore;
use session::VmSession;
use shape::Shape;

pub(crate) use artifacts::boot_image;
pub use artifacts::{VmArtifacts, VmArtifactsError};
pub use guest::GuestError;
pub use image::ImageError;
pub use libraries::LibraryError;
pub(crate) use memory::{PER_SLOT as VM_MEMORY, vms_that_fit};
pub(crate) use saved::{SavedTest, quoted};

/// The time limit for a binary to list its tests, on a CPU that may be emulated.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);

/// The maximum size of a binary's list, in bytes. A test takes about 300.
const MAX_LIST_BYTES: usize = 4 << 20;

/// A place that runs each batch of tests in a VM of its own. All VMs are restored from the same
/// template.
#[derive(Debug)]
pub struct VmPlace {
    name: String,
    /// The name of the place that it is a variant of, or its own.
    base_name: String,
    /// What the tests ask for that it was made for.
    made_for: Option<Demand>,
    artifacts: VmArtifacts,
    warm: WarmStore,
    /// Where guests of failed tests are saved.
    store: Option<Store>,
    /// The folder for disk images.
    scratch: PathBuf,
    /// The guest of the binary that was last listed. No test has run in it.
    listed: Option<Guest>,
    /// The measured speed of each binary in this place, in steps per millisecond.
    speeds: HashMap<PathBuf, f64>,
    /// How many times slower guests of KVM exit than on hardware, once it was measured.
    exit_slowness: Option<f64>,
    /// The number of batches of all instances so far, for unique names of record files.
    batches: Arc<AtomicUsize>,
    /// Whether it is not the first instance.
    is_further: bool,
}

impl VmPlace {
    /// Creates a place named `name` whose VMs are booted from `artifacts`. Disk images are created below
    /// `scratch`; `warm` holds the template, which the first VM creates if it is missing.
    pub fn new(name: &str, artifacts: VmArtifacts, warm: WarmStore, scratch: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            base_name: name.to_owned(),
            made_for: None,
            artifacts,
            warm,
            store: None,
            scratch,
            listed: None,
            speeds: HashMap::new(),
            exit_slowness: None,
            batches: Arc::default(),
            is_further: false,
        }
    }

    /// Creates a place with its template in `store` and its disks in `work`.
    pub fn named(name: &str, artifacts: VmArtifacts, store: &Store, work: &WorkFolder) -> Self {
        let scratch = work.path().join("scratch");
        // Removes what a killed run left behind. A failure is harmless: the next run tries again.
        let _ = remove_orphans(&scratch);
        Self {
            store: Some(store.clone()),
            ..Self::new(name, artifacts, WarmStore::of(store), scratch)
        }
    }

    /// Returns the place `NAME+kvm`: the same VM with KVM, for tests that need it.
    #[must_use]
    pub fn with_kvm(&self) -> Self {
        self.with_kvm_on(None)
    }

    /// The same with this CPU model of QEMU, such as `max,-svm`, for tests of this crate.
    #[doc(hidden)]
    #[must_use]
    pub fn with_kvm_on(&self, cpu: Option<&str>) -> Self {
        Self {
            name: format!("{}{KVM_SUFFIX}", self.name),
            artifacts: self.artifacts.with_kvm(cpu),
            ..self.another_instance()
        }
    }

    /// Returns the place for tests that ask for this.
    fn made_for(&self, demand: Demand, shape: Shape) -> Self {
        let suffix = shape.suffix(&self.artifacts.usual_shape());
        Self {
            name: format!("{}{suffix}", self.name),
            made_for: Some(demand),
            artifacts: self.artifacts.with_shape(shape),
            ..self.another_instance()
        }
    }

    /// Returns the name of the place that it was made from for what tests ask for.
    fn unshaped_name(&self) -> &str {
        let artifacts = &self.artifacts;
        let suffix = artifacts.shape().suffix(&artifacts.usual_shape());
        self.name.strip_suffix(&suffix).unwrap_or(&self.name)
    }

    /// Returns a place with the same VM, which has none yet.
    fn another_instance(&self) -> Self {
        Self {
            base_name: self.base_name.clone(),
            made_for: self.made_for.clone(),
            batches: Arc::clone(&self.batches),
            store: self.store.clone(),
            ..Self::new(
                &self.name,
                self.artifacts.clone(),
                self.warm.clone(),
                self.scratch.clone(),
            )
        }
    }

    /// Returns how many times slower guests of KVM exit in this place than on hardware. It is measured once.
    fn exit_slowness(&mut self, guest: &Guest) -> Result<f64, GuestError> {
        if let (true, None) = (self.artifacts.has_kvm(), self.exit_slowness) {
            self.exit_slowness = Some(run::exit_slowness(guest.speed()?.exits_per_s));
        }
        Ok(self.exit_slowness.unwrap_or(1.0))
    }

    /// Returns a guest with what the binary needs in it, in which no test has run.
    fn guest_for(&mut self, binary: &Binary, questions: &[String]) -> Result<Guest, GuestError> {
        // Drops another guest before one is started: two need twice the memory.
        match self.listed.take().filter(|guest| guest.can_run(binary)) {
            Some(guest) => Ok(guest),
            None => Guest::start(
                &self.artifacts,
                &self.warm,
                &self.scratch,
                binary,
                questions,
                self.is_further,
            ),
        }
    }

    /// Runs a binary with [`LIST_ARGUMENTS`] and returns its exit status, standard output and standard
    /// error.
    fn run_list(
        &mut self,
        binary: &Binary,
        questions: &[String],
        stop: StopToken<'_>,
    ) -> Result<(Exit, [Vec<u8>; 2]), GuestError> {
        let guest = self.guest_for(binary, questions)?;
        let mut program = guest.program(&LIST_ARGUMENTS.map(str::to_owned), LIST_TIMEOUT);
        environment::set(&mut program.environment, PLACE, &self.name);
        let mut output = [Vec::new(), Vec::new()];
        let exit = guest.run_until(stop, &program, &mut |notice| {
            if let Notice::Output { stream, bytes } = notice {
                let index = usize::from(stream == Stream::Stderr);
                output[index].extend(bytes.0);
            }
            match output.iter().map(Vec::len).sum::<usize>() > MAX_LIST_BYTES {
                true => ControlFlow::Break(format!(
                    "the list of tests is longer than {MAX_LIST_BYTES} bytes"
                )),
                false => ControlFlow::Continue(()),
            }
        })?;
        self.listed = Some(guest);
        Ok((exit, output))
    }
}

impl Place for VmPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn base_name(&self) -> &str {
        &self.base_name
    }

    fn variants(&self, demands: &[&Demand]) -> Vec<Box<dyn Place>> {
        let joined = shape::joined(&self.artifacts.usual_shape(), demands);
        let places = joined.into_iter();
        places
            .map(|(demand, shape)| -> Box<dyn Place> { Box::new(self.made_for(demand, shape)) })
            .collect()
    }

    fn fit(&self, demand: &Demand) -> Fit {
        let usual = self.artifacts.usual_shape();
        match (usual.meeting(demand), &self.made_for) {
            (Ok(shape), None) if shape == usual => Fit::Fits,
            (Ok(shape), Some(all)) if shape != usual && usual.covers(all, demand) => Fit::Fits,
            (Err(reason), None) => Fit::Lacks(reason),
            _ => Fit::ForOthers,
        }
    }

    fn about(&self) -> String {
        let about = self.artifacts.about();
        match self.made_for {
            None => format!("a VM with {about}, as root"),
            Some(_) => format!("one more VM: {}; {about}, as root", self.artifacts.shape()),
        }
    }

    fn kernel(&self) -> Option<String> {
        Some(self.artifacts.kernel_release().to_owned())
    }

    fn cost(&self) -> Duration {
        self.artifacts.start_estimate()
    }

    fn is_for_kvm(&self) -> bool {
        self.artifacts.has_kvm()
    }

    fn key(&self) -> Option<String> {
        Some(self.artifacts.key())
    }

    fn list(
        &mut self,
        binary: &Binary,
        questions: &[String],
        stop: StopToken<'_>,
    ) -> Result<String, PlaceError> {
        let (exit, [stdout, stderr]) =
            with_second_try(stop, || self.run_list(binary, questions, stop))?;
        if exit != Exit::Code(0) {
            let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
            return Err(format!(
                "{} cannot list its tests in {}: {}: {stderr}",
                binary.id,
                self.name,
                run::exit_text(exit)
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

    fn open<'a>(
        &'a mut self,
        binary: &'a Binary,
        user: UserKind,
        stop: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        let guest = with_second_try(stop, || self.guest_for(binary, &binary.questions))?;
        Ok(Box::new(VmSession::new(self, guest, user)))
    }

    fn rest(&mut self) {
        self.listed = None;
    }

    fn has_started(&self) -> bool {
        self.artifacts.has_started()
    }

    fn another(&self) -> Option<Box<dyn Place>> {
        // With KVM a VM takes more memory than slots count, and more CPUs.
        (!self.artifacts.has_kvm()).then(|| -> Box<dyn Place> {
            Box::new(Self {
                speeds: self.speeds.clone(),
                is_further: true,
                ..self.another_instance()
            })
        })
    }
}

/// Calls `attempt`, which uses a guest before tests run in it, and once more if the guest failed: no
/// test is the cause then.
fn with_second_try<T>(
    stop: StopToken<'_>,
    mut attempt: impl FnMut() -> Result<T, GuestError>,
) -> Result<T, GuestError> {
    match attempt() {
        Err(error) if error.is_of_the_guest() && !stop.is_requested() => attempt(),
        other => other,
    }
}
