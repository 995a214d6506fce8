//! `cargo kata-test run`: runs any program in a place, with the streams, the exit status and the signals
//! that it would have here. So it can be cargo's target runner.
//!
//! Here, the program takes the place of this process. Elsewhere its standard input, output and error are
//! forwarded, as are SIGHUP, SIGINT, SIGQUIT and SIGTERM. In a VM it has a terminal if this process has one.

pub(super) mod program;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{io, process, thread};

use anyhow::{Context as _, Result, bail};
use guest_vm::artifacts::LOCK_FILE;
use kata_test_runner::{
    AttachedCommand, Binary, Config, Place, ProcessEnd, Session, StopToken, Streams, SudoPlace,
    UserKind, UsernsPlace,
};
use nix::sys::prctl;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::exit_codes;
use super::places::QemuOption;
use super::vm_choice::OwnKernelOptions;
use super::{places, provision};
use program::{Program, locate};

/// The user and group without privileges on this host.
const NOBODY: u32 = 65_534;

/// Signals that are passed on to a program elsewhere.
const FORWARDED: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH];

/// Variables that tests in other places do not get from the runner, but this program from its caller.
const CALLERS_PREFIXES: [&str; 2] = ["NEXTEST", "RUST_TEST_"];

const HELP: &str = "\
The program's exit status is that of this command. If a signal ends the program, the same signal ends this
command (with `sudo`, which may report it as 128 + its number). If the program cannot be run, the exit code
is 125.

In a VM the program finds its shared libraries, the programs of its package that are named in it, and the
folder of the package that the current directory is in; what it writes there is lost. A directory outside of a
package is empty there. A guest has a shell and the usual tools, and a script finds its interpreter; name other
programs that it runs by `--with`. If all standard streams are a terminal, the program has one.

As cargo's target runner, in `.cargo/config.toml`:

    [target.x86_64-unknown-linux-gnu]
    runner = [\"cargo\", \"kata-test\", \"run\", \"--place\", \"vm:bookworm\", \"--\"]

or for one command, also with nextest:

    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"cargo kata-test run --place vm:bookworm --\" cargo test
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"cargo kata-test run --place vm:bookworm --\" cargo nextest run";

/// Options of `run`.
#[derive(Clone, clap::Args)]
#[command(after_help = HELP)]
pub struct Options {
    #[command(flatten)]
    there: PlaceOptions,

    /// Makes VMs from what the cache has, and fetches nothing.
    #[arg(long)]
    offline: bool,

    /// The program, and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    command: Vec<OsString>,
}

/// Where and how a program runs.
#[derive(Clone, clap::Args)]
pub struct PlaceOptions {
    /// Where the program runs: `here`, `sudo` (this host, as root by `sudo -n`), `userns` (this host, as root in
    /// a user namespace), `vm:bookworm` and the like, or a name from the configuration; with `+kvm` the VM has KVM.
    #[arg(long, value_name = "PLACE", conflicts_with = "kernel")]
    pub(super) place: Option<String>,

    #[command(flatten)]
    own: OwnKernelOptions,

    /// The user that it runs as. Default: root if the caller is root, or else an unprivileged user.
    #[arg(long, value_name = "USER")]
    user: Option<User>,

    /// Brings a further program into the VM, with its shared libraries: a path, or a name to be found in
    /// `PATH`. May be given more than once.
    #[arg(long, value_name = "PROGRAM")]
    with: Vec<PathBuf>,

    /// Gives the VM a network. `user`: QEMU's user-mode networking, with which the program reaches what this host
    /// reaches, and this host's loopback as 10.0.2.2. Default: none but the loopback interface.
    #[arg(long, value_name = "NETWORK")]
    network: Option<Network>,

    #[command(flatten)]
    qemu: QemuOption,
}

/// A kind of user.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum User {
    /// Root.
    Root,
    /// A user without privileges.
    Unprivileged,
}

/// A network.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Network {
    /// QEMU's user-mode networking.
    User,
}

/// Runs the program. If it is ended by a signal, this process is too.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    exit_code(end_of(
        &options.there,
        options.offline,
        &options.command,
        &|_| Ok(()),
    ))
}

/// Returns the exit code of this process for the end of a program. If a signal ended that, this process is ended too.
pub(super) fn exit_code(end: Result<ProcessEnd>) -> ExitCode {
    match end {
        Ok(ProcessEnd::Exited(status)) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Ok(ProcessEnd::Signaled(signal)) => end_by(signal),
        Ok(end) => fail(&format!("the program was ended before it exited: {end}")),
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(exit_codes::NOT_RUN)
}

/// Ends this process by a signal, as the program was ended.
fn end_by(signal: i32) -> ExitCode {
    // A core dump of this process would be of no use.
    let _ = prctl::set_dumpable(false);
    let _ = emulate_default_handler(signal);
    // The signal does not end a process of this system by default.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// Runs the program in the place that the options name.
pub(super) fn end_of(
    options: &PlaceOptions,
    offline: bool,
    command: &[OsString],
    prepare: &Prepare<'_>,
) -> Result<ProcessEnd> {
    let directory = std::env::current_dir().context("cannot find the current directory")?;
    let (program, arguments) = command.split_first().context("no program")?;
    let user = options.user(UserKind::current())?;
    if options.is_here() {
        let mut command = process::Command::new(program);
        command.args(arguments);
        return Err(take_over(command, user));
    }
    let program = Program::find(program, &options.with, &directory)?;
    let config = Config::load(&program.workspace)?;
    let target = program.target_directory();
    let root = &program.workspace;
    let mut place = options.open(&config, &Folders { root, target }, offline)?;
    let binary = Binary {
        excludes: config.package_files,
        secrets: config.secrets,
        ..program.binary
    };
    attach(
        place.as_mut(),
        &binary,
        user,
        &Attached {
            program: None,
            arguments,
            directory: &directory,
            streams: None,
            prepare,
        },
    )
}

/// The folders of a workspace.
pub(super) struct Folders<'a> {
    pub(super) root: &'a Path,
    /// The target directory, if there is one.
    pub(super) target: Option<PathBuf>,
}

impl PlaceOptions {
    /// Returns the kind of user that is stated.
    pub(super) fn stated_user(&self) -> Option<UserKind> {
        self.user.map(|user| match user {
            User::Root => UserKind::Root,
            User::Unprivileged => UserKind::Unprivileged,
        })
    }

    /// Returns whether programs are named that a VM gets.
    pub(super) fn has_further_programs(&self) -> bool {
        !self.with.is_empty()
    }

    /// Finds these programs.
    ///
    /// # Errors
    /// If one is not there.
    pub(super) fn further_programs(&self) -> Result<Vec<PathBuf>> {
        let directory = std::env::current_dir()?;
        let programs = self
            .with
            .iter()
            .map(|one| locate(one.as_os_str(), &directory));
        programs.collect()
    }

    /// Returns whether a kernel of the user's own is named.
    pub(super) fn has_kernel(&self) -> bool {
        self.own.vm().is_some()
    }

    /// Returns whether the VM gets a network.
    pub(super) fn has_network(&self) -> bool {
        matches!(self.network, Some(Network::User))
    }

    /// Returns whether the program runs as a child of this process would.
    pub(super) fn is_here(&self) -> bool {
        let is_root = nix::unistd::geteuid().is_root();
        match self.place.as_deref() {
            Some("here") => true,
            Some("sudo") => is_root,
            _ => false,
        }
    }

    /// Returns the kind of user that kata-test's harness runs as: root, and here the caller.
    pub(super) fn harness_user(&self) -> UserKind {
        match self.is_here() {
            true => UserKind::current(),
            false => UserKind::Root,
        }
    }

    /// Returns the kind of user that the program runs as.
    ///
    /// # Errors
    /// If no place is named, or it cannot run programs as that user.
    pub(super) fn user(&self, default: UserKind) -> Result<UserKind> {
        let user = self.stated_user().unwrap_or(default);
        let is_root = nix::unistd::geteuid().is_root();
        match self.place.as_deref() {
            None if !self.has_kernel() => {
                bail!("name a place by `--place`, or a kernel by `--kernel`")
            }
            Some(place @ ("here" | "sudo" | "userns")) if self.has_network() => {
                bail!("`--network` needs a VM, and `{place}` is not a VM")
            }
            Some(place @ ("sudo" | "userns")) => match self.user {
                Some(User::Unprivileged) => {
                    bail!("`--place {place}` runs programs as root: use `--place here`")
                }
                _ => Ok(UserKind::Root),
            },
            Some("here") if user == UserKind::Root && !is_root => {
                bail!("this user is not root: use `--place sudo`, `--place userns`, or a VM")
            }
            _ => Ok(user),
        }
    }

    /// Provides the place, unless it is this process's own.
    ///
    /// # Errors
    /// If it cannot be provided.
    pub(super) fn open(
        &self,
        config: &Config,
        workspace: &Folders<'_>,
        offline: bool,
    ) -> Result<Box<dyn Place>> {
        let name = self.place.as_deref().unwrap_or_default();
        match name {
            "sudo" => return Ok(Box::new(SudoPlace::new()?)),
            "userns" => return Ok(Box::new(UsernsPlace::new(config)?)),
            _ => {}
        }
        let (mut vm, has_kvm) = match self.own.vm() {
            Some(vm) => (vm, false),
            None => places::vm_of(name, config)?,
        };
        vm.network |= self.has_network();
        let qemu = self.qemu.or_configured(config, workspace.root)?;
        let lock_file = workspace.root.join(LOCK_FILE);
        let target = workspace.target.as_deref();
        let place = provision::vm_place(&vm, &qemu, target, &lock_file, offline)?;
        Ok(Box::new(match has_kvm {
            true => place.with_kvm(),
            false => place,
        }))
    }
}

/// Replaces this process by the program. Returns only if that fails.
pub(super) fn take_over(mut command: process::Command, user: UserKind) -> anyhow::Error {
    if user == UserKind::Unprivileged && nix::unistd::geteuid().is_root() {
        // Without supplementary groups, too.
        command.uid(NOBODY).gid(NOBODY);
    }
    let error = anyhow::Error::new(command.exec());
    error.context(format!("cannot run {}", command.get_program().display()))
}

/// A program that is connected to the signals of this process.
pub(super) struct Attached<'a> {
    /// `None`: the binary of the session.
    pub(super) program: Option<&'a Path>,
    pub(super) arguments: &'a [OsString],
    pub(super) directory: &'a Path,
    /// Its standard input and output; those of this process if `None`.
    pub(super) streams: Option<BorrowedFd<'a>>,
    /// Called before, with the session.
    pub(super) prepare: &'a Prepare<'a>,
}

/// What is done with a session before a program runs in it.
pub(super) type Prepare<'a> = dyn Fn(&mut dyn Session) -> Result<()> + 'a;

/// Runs a program in a place.
pub(super) fn attach(
    place: &mut dyn Place,
    binary: &Binary,
    user: UserKind,
    command: &Attached<'_>,
) -> Result<ProcessEnd> {
    let name = place.name().to_owned();
    let session = place.open(binary, user, StopToken::NEVER);
    let session = session.map_err(|error| anyhow::anyhow!(error).context(name.clone()));
    attach_in(&mut *session?, command).context(name)
}

/// Runs a program in a session.
pub(super) fn attach_in(session: &mut dyn Session, command: &Attached<'_>) -> Result<ProcessEnd> {
    (command.prepare)(session)?;
    let (signals, mut sender) = io::pipe()?;
    // Until here, signals end this process, and QEMU with it.
    let mut handler = Signals::new(FORWARDED)?;
    let handle = handler.handle();
    thread::spawn(move || {
        for signal in &mut handler {
            let _ = io::Write::write_all(&mut sender, &[signal as u8]);
        }
    });
    let callers = std::env::vars_os().filter(|(name, _)| {
        let name = name.as_encoded_bytes();
        CALLERS_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
    });
    let arguments: Vec<&OsStr> = command.arguments.iter().map(OsString::as_os_str).collect();
    let ended = session.attach(&AttachedCommand {
        program: command.program,
        arguments: &arguments,
        env: &callers.collect::<Vec<_>>(),
        directory: command.directory,
        streams: Streams {
            stdin: command.streams.unwrap_or(io::stdin().as_fd()),
            stdout: command.streams.unwrap_or(io::stdout().as_fd()),
            stderr: io::stderr().as_fd(),
            signals: signals.as_fd(),
        },
    });
    handle.close();
    ended.map_err(|error| anyhow::anyhow!(error))
}
