//! A running VM, and what has been delivered to it.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use kata_test_runner::{Binary, Stop};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::parcel::{Parcel, ParcelError};
use super::{Supply, environment};
use guest_vm::artifacts::FileState;
use guest_vm::guest::AgentError;
use guest_vm::guest::protocol::{Exit, FailureKind, Notice, Program, Serial};
use guest_vm::scratch::Scratch;
use guest_vm::vm::{Vm, VmError};
use guest_vm::warm::WarmStore;
use iothread_hotplug::{AttachError, DetachError, DiskSpec};
use iothread_pool::{DeviceId, Placement};
use qmp_client::wait::Deadline;

/// How long the guest may take for what takes seconds at the most.
const SPAN: Duration = Duration::from_secs(120);

/// The size of the disk that tests may use as they like.
const SCRATCH_SIZE: u64 = 64 << 20;

/// How much may be delivered to one guest, in bytes: it lies in the guest's memory, a GiB, which tests
/// need too. The first binary has no limit.
const DELIVERIES: u64 = 256 << 20;

/// Why a guest cannot be used, or is gone.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// It does not start.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A file on the host is out of reach.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What the binary needs cannot be packed.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// A disk does not come.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A disk does not go.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// The agent failed, or is gone.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl GuestError {
    /// Whether another guest may do better: it is not about what it was to be given.
    pub(super) fn is_of_the_guest(&self) -> bool {
        match self {
            Self::Vm(_) | Self::Attach(_) | Self::Detach(_) | Self::Agent(_) => true,
            Self::Io { .. } | Self::Parcel(_) => false,
        }
    }
}

/// A VM that has what tests need.
#[derive(Debug)]
pub(super) struct Guest {
    vm: Vm,
    scratch: Scratch,
    /// The test binaries that are there, as they were, with their programs' variables.
    delivered: HashMap<PathBuf, Delivered>,
    /// The bytes of all deliveries.
    delivered_bytes: u64,
    disks: usize,
    scratch_node: Option<String>,
    well: Cell<bool>,
    has_run_tests: Cell<bool>,
}

#[derive(Debug)]
struct Delivered {
    state: FileState,
    environment: Vec<(String, String)>,
}

impl Guest {
    /// Starts the VM and brings it to where a test binary can be delivered.
    pub(super) fn start(
        supply: &Supply,
        warm: &WarmStore,
        scratch: &Path,
    ) -> Result<Self, GuestError> {
        let began = Instant::now();
        let scratch_folder = Scratch::new_in(scratch).map_err(at(scratch))?;
        let vm = Vm::restore_or_boot(&supply.manifest, &supply.shape(), warm)?;
        let mut guest = Self {
            vm,
            scratch: scratch_folder,
            delivered: HashMap::new(),
            delivered_bytes: 0,
            disks: 0,
            scratch_node: None,
            well: Cell::new(true),
            has_run_tests: Cell::new(false),
        };
        guest.vm.agent().furnish(Deadline::after(SPAN))?;
        guest.plug_scratch_disk()?;
        supply.note_start(began.elapsed());
        Ok(guest)
    }

    /// Whether nothing has happened to it.
    pub(super) fn is_well(&self) -> bool {
        self.well.get()
    }

    /// Whether tests have done something to it.
    pub(super) fn has_run_tests(&self) -> bool {
        self.has_run_tests.get()
    }

    /// Notes that they have.
    pub(super) fn tests_have_run(&self) {
        self.has_run_tests.set(true);
    }

    /// The end of what QEMU and the guest's console have said.
    pub(super) fn last_words(&self) -> String {
        self.vm.last_words().to_string()
    }

    /// Brings a binary with all that it needs, unless it is there. Returns whether there was room for
    /// it beside what was delivered before.
    pub(super) fn deliver(&mut self, binary: &Binary) -> Result<bool, GuestError> {
        let executable = &binary.executable;
        let state = FileState::of(executable).map_err(at(executable))?;
        let known = self.delivered.get(executable);
        if known.is_some_and(|known| known.state == state) {
            return Ok(true);
        }
        let parcel = Parcel::pack(binary)?;
        let size = parcel.bytes.len() as u64;
        if !has_room(self.delivered_bytes, size) {
            return Ok(false);
        }
        self.delivered_bytes += size;
        let file = self.scratch.path().join("parcel");
        fs::write(&file, &parcel.bytes).map_err(at(&file))?;
        self.unpack(&file)?;
        let _ = fs::remove_file(&file);
        let mut environment = environment::of(binary, &parcel);
        if let Some(node) = &self.scratch_node {
            environment::set(&mut environment, "KATA_TEST_SCRATCH_DISK", node);
        }
        self.delivered
            .insert(executable.clone(), Delivered { state, environment });
        Ok(true)
    }

    /// Loads the modules that tests ask for. One that this kernel does not have is their business.
    pub(super) fn load_modules(&self, wishes: &[String]) {
        let names = wishes
            .iter()
            .filter_map(|wish| wish.strip_prefix("module "));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return;
        }
        let program = Program {
            path: "/sbin/modprobe".to_owned(),
            arguments: std::iter::once("-qa".to_owned()).chain(names).collect(),
            directory: "/".to_owned(),
            timeout_ms: millis(SPAN),
            ..Program::default()
        };
        let _ = self.run(&program, &mut |_| ControlFlow::Continue(()));
    }

    /// A delivered binary as a program with arguments.
    pub(super) fn program(&self, binary: &Binary, arguments: &[String], span: Duration) -> Program {
        let delivered = self.delivered.get(&binary.executable);
        Program {
            path: binary.executable.to_string_lossy().into_owned(),
            arguments: arguments.to_vec(),
            environment: delivered
                .map(|known| known.environment.clone())
                .unwrap_or_default(),
            directory: binary.folder.to_string_lossy().into_owned(),
            timeout_ms: millis(span),
            ..Program::default()
        }
    }

    /// Runs a program. A guest that is gone after it is not well.
    pub(super) fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, GuestError> {
        let ended = self.vm.agent().run(program, on_notice);
        let is_its_own = |error: &AgentError| matches!(error, AgentError::Failed(failure) if failure.kind != FailureKind::TimedOut);
        if ended.as_ref().is_err_and(|error| !is_its_own(error)) {
            self.well.set(false);
        }
        Ok(ended?)
    }

    /// Runs a program, and ends the guest if it is to stop before that.
    pub(super) fn run_until(
        &self,
        stop: Stop<'_>,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, GuestError> {
        let Some(asked) = stop.fd() else {
            return self.run(program, on_notice);
        };
        let (over, end) = io::pipe().map_err(at(Path::new("a pipe")))?;
        let vm = &self.vm;
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut fds = [asked, over.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
                if stop.is_asked() {
                    vm.kill();
                }
            });
            let ended = self.run(program, on_notice);
            // The thread waits for this too.
            drop(end);
            ended
        })
    }

    /// Plugs a disk with an archive in, has it unpacked, and takes the disk out.
    fn unpack(&mut self, archive: &Path) -> Result<(), GuestError> {
        self.disks += 1;
        let disk = DiskSpec {
            read_only: true,
            ..DiskSpec::new(id(&format!("delivery{}", self.disks)), archive)
        };
        self.vm.attach(&disk, &Placement::First)?;
        let serial = Serial(disk.id.as_str().to_owned());
        let unpacked = self.vm.agent().unpack(&serial, Deadline::after(SPAN));
        self.vm.detach(&disk.id)?;
        unpacked?;
        Ok(())
    }

    /// Plugs in a disk that tests may use as they like.
    fn plug_scratch_disk(&mut self) -> Result<(), GuestError> {
        let path = self.scratch.path().join("disk");
        let file = fs::File::create(&path).map_err(at(&path))?;
        file.set_len(SCRATCH_SIZE).map_err(at(&path))?;
        let disk = DiskSpec::new(id("scratch"), path);
        self.vm.attach(&disk, &Placement::First)?;
        let disks = self.vm.agent().disks(Deadline::after(SPAN))?;
        let found = disks
            .iter()
            .find(|found| found.serial.0 == disk.id.as_str());
        self.scratch_node = found.map(|found| format!("/dev/{}", found.name));
        Ok(())
    }
}

/// Whether so many bytes can be delivered after others.
fn has_room(before: u64, size: u64) -> bool {
    before == 0 || before.saturating_add(size) <= DELIVERIES
}

fn id(word: &str) -> DeviceId {
    DeviceId::new(word).expect("a short word is an id")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> GuestError {
    move |source| GuestError::Io {
        path: path.into(),
        source,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    //! **Scope**: arithmetic; guests are those of `tests/places`.

    use super::*;

    #[test]
    fn a_guest_takes_one_large_binary_or_several_small_ones() {
        assert!(has_room(0, 2 * DELIVERIES));
        assert!(has_room(DELIVERIES / 2, DELIVERIES / 2));
        assert!(!has_room(DELIVERIES / 2, DELIVERIES / 2 + 1));
        assert!(!has_room(2 * DELIVERIES, 1));
    }
}
