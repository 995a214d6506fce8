//! A running VM with a test binary.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use kata_test_runner::{Binary, StopToken, chain, is_readable_before};

use super::image::{self, BinaryFiles, ImageError, Owner};
use super::{VmArtifacts, environment, memory};
use guest_vm::artifacts::FileState;
use guest_vm::guest::protocol::{Exit, MountTarget, Notice, Program, Serial, Speed, User};
use guest_vm::guest::{Agent, AgentError};
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::{ExitReport, Vm, VmError};
use guest_vm::warm::WarmStore;
use iothread_hotplug::{AttachError, DetachError, DiskSpec};
use iothread_pool::{DeviceId, Placement};
use qmp_client::wait::Deadline;

/// The time limit of requests to the agent that take seconds at most.
const AGENT_TIMEOUT: Duration = Duration::from_secs(120);

/// The size of the scratch disk.
const SCRATCH_DISK_BYTES: u64 = 64 << 20;

/// The user and group without privileges.
const NOBODY: u32 = 65_534;

/// An error of a guest, or of the files that it needs.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The VM cannot be started.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A kernel of the user's own does not start the agent.
    #[error("the kernel {} does not start the guest agent; {hint}", kernel.display())]
    OwnKernel {
        /// The kernel.
        kernel: PathBuf,
        /// What to know.
        hint: String,
        /// The error, with the last lines of the console.
        source: Box<VmError>,
    },
    /// A guest that has started cannot be set up.
    #[error("the guest cannot be set up: {}{report}", chain(&**error))]
    SetUp {
        /// What failed. It is no source, since the console comes behind it.
        error: Box<GuestError>,
        /// The end of the guest's console, where its kernel may say why.
        report: Box<ExitReport>,
    },
    /// There is no memory for a further VM.
    #[error("there is too little memory for another VM")]
    NoMemory,
    /// A file on the host cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An image with the binary or its package cannot be created.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A disk cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A disk cannot be detached.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// A request to the guest agent failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl GuestError {
    /// Says whether another guest may succeed.
    pub(super) fn is_of_the_guest(&self) -> bool {
        match self {
            Self::Vm(_)
            | Self::SetUp { .. }
            | Self::Attach(_)
            | Self::Detach(_)
            | Self::Agent(_) => true,
            Self::OwnKernel { .. } | Self::NoMemory | Self::Io { .. } | Self::Image(_) => false,
        }
    }
}

/// A VM with one test binary and all that it needs.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) vm: Vm,
    /// Released after the VM.
    pub(super) memory: memory::Slot,
    pub(super) scratch: ScratchDir,
    /// The binary, and the state of its file when it was packed.
    pub(super) executable: (PathBuf, FileState),
    /// The working directory of its programs.
    pub(super) directory: PathBuf,
    /// The environment variables of its programs.
    pub(super) environment: Vec<(String, String)>,
}

/// The disks of a guest, in the order in which they are attached, and the files in its folder.
pub(super) const SCRATCH: (&str, &str) = ("scratch", "disk");
pub(super) const PACKAGE: &str = "package";
pub(super) const FILES: &str = "files";

impl Guest {
    /// Starts a VM, delivers a binary to it, and loads the modules that its tests require.
    pub(super) fn start(
        artifacts: &VmArtifacts,
        warm: &WarmStore,
        scratch: &Path,
        binary: &Binary,
        questions: &[String],
        is_further: bool,
    ) -> Result<Self, GuestError> {
        let slots = warm.slots();
        let mib = artifacts.shape().taken_mib();
        let memory = match is_further {
            true => memory::further(&slots, mib).map_err(at(&slots))?,
            false => Some(memory::slot(&slots, mib).map_err(at(&slots))?),
        };
        let memory = memory.ok_or(GuestError::NoMemory)?;
        let began = Instant::now();
        let scratch_folder = ScratchDir::new_in(scratch).map_err(at(scratch))?;
        let vm = Vm::restore_or_boot(&artifacts.manifest, &artifacts.spec(), warm);
        let vm = vm.map_err(|error| match (artifacts.own_kernel(), error) {
            (Some((kernel, hint)), source @ VmError::Guest { .. }) => GuestError::OwnKernel {
                kernel: kernel.to_owned(),
                hint,
                source: Box::new(source),
            },
            (_, error) => error.into(),
        })?;
        let executable = &binary.executable;
        let state = FileState::of(executable).map_err(at(executable))?;
        let mut guest = Self {
            vm,
            memory,
            scratch: scratch_folder,
            executable: (executable.clone(), state),
            directory: binary.folder.clone(),
            environment: Vec::new(),
        };
        let set_up = guest.set_up(artifacts, binary, questions, (scratch, began));
        set_up.map_err(|error| match error.is_of_the_guest() {
            true => GuestError::SetUp {
                report: Box::new(guest.vm.exit_report()),
                error: Box::new(error),
            },
            false => error,
        })?;
        Ok(guest)
    }

    /// Delivers a binary to the guest, and loads the modules that its tests require.
    fn set_up(
        &mut self,
        artifacts: &VmArtifacts,
        binary: &Binary,
        questions: &[String],
        (scratch, began): (&Path, Instant),
    ) -> Result<(), GuestError> {
        self.vm
            .agent()
            .set_up_rootfs(user(), Deadline::after(AGENT_TIMEOUT))?;
        let scratch_node = self.attach_scratch_disk()?;
        artifacts.record_start((!self.vm.made_template()).then(|| began.elapsed()));
        self.environment = self.deliver(binary, questions, &scratch.join("packages"))?;
        if let Some(node) = scratch_node {
            environment::set(&mut self.environment, "KATA_TEST_SCRATCH_DISK", &node);
        }
        self.load_modules(questions)
    }

    /// Says whether the guest has this version of the binary and its agent responds.
    pub(super) fn can_run(&self, binary: &Binary) -> bool {
        let (executable, state) = &self.executable;
        *executable == binary.executable
            && FileState::of(executable).is_ok_and(|now| now == *state)
            && self
                .vm
                .agent()
                .disks(Deadline::after(AGENT_TIMEOUT))
                .is_ok()
    }

    /// Returns the end of QEMU's standard error and of the guest's console.
    pub(super) fn exit_report(&self) -> String {
        self.vm.exit_report().to_string()
    }

    /// Brings a binary and the folder of its package into the guest. Returns the environment variables of
    /// its programs.
    fn deliver(
        &mut self,
        binary: &Binary,
        questions: &[String],
        cache: &Path,
    ) -> Result<Vec<(String, String)>, GuestError> {
        let User { uid, gid } = user();
        let owner = Owner { uid, gid };
        let [package, files] = [PACKAGE, FILES].map(|name| self.scratch.path().join(name));
        // A program that belongs to no package has none.
        if !binary.folder.as_os_str().is_empty() {
            image::package(&binary.folder, &binary.excludes, owner, cache, &package)?;
            let folder = binary.folder.to_string_lossy().into_owned();
            self.mount(PACKAGE, &package, MountTarget::Folder(folder))?;
        }
        let binary_files = BinaryFiles::of(binary, questions)?;
        binary_files.write(owner, &files)?;
        self.mount(FILES, &files, MountTarget::Files)?;
        Ok(environment::of(binary, &binary_files))
    }

    /// Loads the modules that tests require. A missing module is no error: the tests' constraints
    /// report it.
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
            timeout_ms: millis(AGENT_TIMEOUT),
            ..Program::default()
        };
        self.run(&program, &mut |_| ControlFlow::Continue(()))?;
        Ok(())
    }

    /// Measures the speed of the guest.
    pub(super) fn speed(&self) -> Result<Speed, GuestError> {
        Ok(self.vm.agent().speed(Deadline::after(AGENT_TIMEOUT))?)
    }

    /// Returns the binary as a program with arguments and a time limit.
    pub(super) fn program(&self, arguments: &[String], timeout: Duration) -> Program {
        Program {
            path: self.executable.0.to_string_lossy().into_owned(),
            arguments: arguments.to_vec(),
            environment: self.environment.clone(),
            directory: self.directory.to_string_lossy().into_owned(),
            timeout_ms: millis(timeout),
            ..Program::default()
        }
    }

    /// Returns the agent.
    pub(super) fn agent(&self) -> &Agent {
        self.vm.agent()
    }

    /// Runs a program.
    pub(super) fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, GuestError> {
        Ok(self.vm.agent().run(program, on_notice)?)
    }

    /// Runs a program, and kills the VM if the run is stopped meanwhile.
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
                let _ = is_readable_before(asked, over.as_fd());
                if stop.is_requested() {
                    vm.kill();
                }
            });
            let ended = self.run(program, on_notice);
            // Ends the thread.
            drop(end);
            ended
        })
    }

    /// Attaches an image as a disk, and has the agent mount it.
    fn mount(&mut self, name: &str, image: &Path, target: MountTarget) -> Result<(), GuestError> {
        let disk = image_disk(name, image);
        self.vm.attach(&disk, &Placement::First)?;
        let serial = Serial(disk.id.as_str().to_owned());
        let deadline = Deadline::after(AGENT_TIMEOUT);
        Ok(self.vm.agent().mount(&serial, target, deadline)?)
    }

    /// Attaches an empty disk for tests. Returns its device node.
    fn attach_scratch_disk(&mut self) -> Result<Option<String>, GuestError> {
        let path = self.scratch.path().join(SCRATCH.1);
        let file = fs::File::create(&path).map_err(at(&path))?;
        file.set_len(SCRATCH_DISK_BYTES).map_err(at(&path))?;
        let disk = scratch_disk(path);
        self.vm.attach(&disk, &Placement::First)?;
        let disks = self.vm.agent().disks(Deadline::after(AGENT_TIMEOUT))?;
        let found = disks
            .iter()
            .find(|found| found.serial.0 == disk.id.as_str());
        Ok(found.map(|found| format!("/dev/{}", found.name)))
    }
}

/// Returns the user that owns a package's files in a guest, and that programs without privileges run as:
/// this user, or `nobody` for root.
pub(super) fn user() -> User {
    match nix::unistd::geteuid().is_root() {
        true => User {
            uid: NOBODY,
            gid: NOBODY,
        },
        false => User {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        },
    }
}

/// Returns the disk of an image that is mounted.
pub(super) fn image_disk(name: &str, image: &Path) -> DiskSpec {
    DiskSpec {
        read_only: true,
        ..DiskSpec::new(id(name), image)
    }
}

/// Returns the disk for tests.
pub(super) fn scratch_disk(path: PathBuf) -> DiskSpec {
    DiskSpec::new(id(SCRATCH.0), path)
}

fn id(word: &str) -> DeviceId {
    DeviceId::new(word).expect("a valid id")
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> GuestError {
    move |source| GuestError::Io {
        path: path.into(),
        source,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_guest_that_cannot_be_set_up_has_its_cause_before_the_console() {
        let error = GuestError::SetUp {
            error: Box::new(at(Path::new("disk"))(io::Error::other("full"))),
            report: Box::default(),
        };
        assert_eq!(
            chain(&error),
            "the guest cannot be set up: cannot read or write disk: full"
        );
    }
}
