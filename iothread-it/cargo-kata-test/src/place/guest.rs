//! A running VM, and what has been delivered to it.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use kata_test_runner::{Binary, StopToken};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::parcel::{Parcel, ParcelError};
use super::{Supply, environment};
use guest_vm::artifacts::FileState;
use guest_vm::guest::AgentError;
use guest_vm::guest::protocol::{Exit, Notice, Program, Serial};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::{Vm, VmError};
use guest_vm::warm::WarmStore;
use iothread_hotplug::{AttachError, DetachError, DiskSpec};
use iothread_pool::{DeviceId, Placement};
use qmp_client::wait::Deadline;

/// How long the guest may take for what takes seconds at the most.
const SPAN: Duration = Duration::from_secs(120);

/// The size of the disk that tests may use as they like.
const SCRATCH_SIZE: u64 = 64 << 20;

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

/// A VM that has what the tests of one binary need.
#[derive(Debug)]
pub(super) struct Guest {
    vm: Vm,
    scratch: ScratchDir,
    /// The binary, as it was when it was delivered.
    executable: (PathBuf, FileState),
    /// Its folder.
    directory: PathBuf,
    /// The variables of its programs.
    environment: Vec<(String, String)>,
}

impl Guest {
    /// Starts the VM and brings a binary with all that it needs.
    pub(super) fn start(
        supply: &Supply,
        warm: &WarmStore,
        scratch: &Path,
        binary: &Binary,
        questions: &[String],
    ) -> Result<Self, GuestError> {
        let began = Instant::now();
        let scratch_folder = ScratchDir::new_in(scratch).map_err(at(scratch))?;
        let vm = Vm::restore_or_boot(&supply.manifest, &supply.shape(), warm)?;
        let executable = &binary.executable;
        let state = FileState::of(executable).map_err(at(executable))?;
        let mut guest = Self {
            vm,
            scratch: scratch_folder,
            executable: (executable.clone(), state),
            directory: binary.folder.clone(),
            environment: Vec::new(),
        };
        guest.vm.agent().set_up_rootfs(Deadline::after(SPAN))?;
        let scratch_node = guest.plug_scratch_disk()?;
        supply.note_start(began.elapsed());
        guest.environment = guest.deliver(binary)?;
        if let Some(node) = scratch_node {
            environment::set(&mut guest.environment, "KATA_TEST_SCRATCH_DISK", &node);
        }
        guest.load_modules(questions)?;
        Ok(guest)
    }

    /// Whether it has this binary, as it is now, and answers.
    pub(super) fn can_run(&self, binary: &Binary) -> bool {
        let (executable, state) = &self.executable;
        *executable == binary.executable
            && FileState::of(executable).is_ok_and(|now| now == *state)
            && self.vm.agent().disks(Deadline::after(SPAN)).is_ok()
    }

    /// The end of what QEMU and the guest's console have said.
    pub(super) fn exit_report(&self) -> String {
        self.vm.exit_report().to_string()
    }

    /// Brings a binary with all that it needs. Returns the variables of its programs.
    fn deliver(&mut self, binary: &Binary) -> Result<Vec<(String, String)>, GuestError> {
        let parcel = Parcel::pack(binary)?;
        let file = self.scratch.path().join("parcel");
        fs::write(&file, &parcel.bytes).map_err(at(&file))?;
        self.unpack(&file)?;
        let _ = fs::remove_file(&file);
        Ok(environment::of(binary, &parcel))
    }

    /// Loads the modules that tests ask for. One that this kernel does not have is their business.
    fn load_modules(&self, questions: &[String]) -> Result<(), GuestError> {
        let names = questions
            .iter()
            .filter_map(|question| question.strip_prefix("module "));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return Ok(());
        }
        let program = Program {
            path: "/sbin/modprobe".to_owned(),
            arguments: std::iter::once("-qa".to_owned()).chain(names).collect(),
            directory: "/".to_owned(),
            timeout_ms: millis(SPAN),
            ..Program::default()
        };
        self.run(&program, &mut |_| ControlFlow::Continue(()))?;
        Ok(())
    }

    /// The binary as a program with arguments.
    pub(super) fn program(&self, arguments: &[String], span: Duration) -> Program {
        Program {
            path: self.executable.0.to_string_lossy().into_owned(),
            arguments: arguments.to_vec(),
            environment: self.environment.clone(),
            directory: self.directory.to_string_lossy().into_owned(),
            timeout_ms: millis(span),
            ..Program::default()
        }
    }

    /// Runs a program.
    pub(super) fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, GuestError> {
        Ok(self.vm.agent().run(program, on_notice)?)
    }

    /// Runs a program, and ends the guest if it is to stop before that.
    pub(super) fn run_until(
        &self,
        stop: StopToken<'_>,
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
                if stop.is_requested() {
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
        let disk = DiskSpec {
            read_only: true,
            ..DiskSpec::new(id("delivery"), archive)
        };
        self.vm.attach(&disk, &Placement::First)?;
        let serial = Serial(disk.id.as_str().to_owned());
        let unpacked = self.vm.agent().unpack(&serial, Deadline::after(SPAN));
        self.vm.detach(&disk.id)?;
        unpacked?;
        Ok(())
    }

    /// Plugs in a disk that tests may use as they like. Returns its node.
    fn plug_scratch_disk(&mut self) -> Result<Option<String>, GuestError> {
        let path = self.scratch.path().join("disk");
        let file = fs::File::create(&path).map_err(at(&path))?;
        file.set_len(SCRATCH_SIZE).map_err(at(&path))?;
        let disk = DiskSpec::new(id("scratch"), path);
        self.vm.attach(&disk, &Placement::First)?;
        let disks = self.vm.agent().disks(Deadline::after(SPAN))?;
        let found = disks
            .iter()
            .find(|found| found.serial.0 == disk.id.as_str());
        Ok(found.map(|found| format!("/dev/{}", found.name)))
    }
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
