//! `cargo kata-test run`: runs any program in a place, with the streams, the exit status and the signals
//! that it would have here. So it can be cargo's target runner.
//!
//! Here, the program takes the place of this process. Elsewhere its standard input, output and error are
//! forwarded, as are SIGHUP, SIGINT, SIGQUIT and SIGTERM. In a VM it has a terminal if this process has one.

mod program;

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{io, process, thread};

use anyhow::{Context as _, Result, bail};
use guest_vm::artifacts::LOCK_FILE;
use kata_test_runner::{
    AttachedCommand, Config, Place, PlaceError, ProcessEnd, StopToken, Streams, SudoPlace,
    UserKind, UsernsPlace,
};
use nix::sys::prctl;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::places::QemuOption;
use super::vm_choice::OwnKernelOptions;
use super::{places, provision};
use program::Program;

/// The exit code if the program was not run, as of env(1) and docker.
const NOT_RUN: u8 = 125;

/// The user and group without privileges on this host.
const NOBODY: u32 = 65_534;

/// Signals that are passed on to a program elsewhere.
const FORWARDED: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH];

/// Variables that tests in other places do not get from the runner, but this program from its caller.
const CALLERS_PREFIXES: [&str; 2] = ["NEXTEST", "RUST_TEST_"];

/// The shell, which a guest has from this host.
const SHELL: &str = "/bin/sh";

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
    #[arg(
        long,
        value_name = "PLACE",
        required_unless_present = "kernel",
        conflicts_with = "kernel"
    )]
    place: Option<String>,

    #[command(flatten)]
    own: OwnKernelOptions,

    /// The user that it runs as. Default: root if the caller is root, or else an unprivileged user.
    #[arg(long, value_name = "USER")]
    user: Option<User>,

    /// Brings a further program into the VM, with its shared libraries: a path, or a name to be found in
    /// `PATH`. May be given more than once.
    #[arg(long, value_name = "PROGRAM")]
    with: Vec<PathBuf>,

    #[command(flatten)]
    qemu: QemuOption,

    /// Makes VMs from what the cache has, and fetches nothing.
    #[arg(long)]
    offline: bool,
}

/// A kind of user.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum User {
    /// Root.
    Root,
    /// A user without privileges.
    Unprivileged,
}

/// Runs the program. If it is ended by a signal, this process is too.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    run_program(&options.there, &options.command)
}

/// Runs a shell.
#[must_use]
pub fn shell(there: &PlaceOptions) -> ExitCode {
    run_program(there, &[SHELL.into()])
}

fn run_program(options: &PlaceOptions, command: &[OsString]) -> ExitCode {
    match end_of(options, command) {
        Ok(ProcessEnd::Exited(status)) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Ok(ProcessEnd::Signaled(signal)) => end_by(signal),
        Ok(end) => fail(&format!("the program ended with its place: {end}")),
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(NOT_RUN)
}

/// Ends this process by a signal, as the program was ended.
fn end_by(signal: i32) -> ExitCode {
    // A core dump of this process would be of no use.
    let _ = prctl::set_dumpable(false);
    let _ = emulate_default_handler(signal);
    // The signal does not end a process of this system by default.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

fn end_of(options: &PlaceOptions, command: &[OsString]) -> Result<ProcessEnd> {
    let directory = std::env::current_dir().context("cannot find the current directory")?;
    let user = match options.user {
        Some(User::Root) => UserKind::Root,
        Some(User::Unprivileged) => UserKind::Unprivileged,
        None => UserKind::current(),
    };
    let (program, arguments) = command.split_first().context("no program")?;
    let is_root = nix::unistd::geteuid().is_root();
    let place = options.place.as_deref().unwrap_or_default();
    let wants = |name| place == name;
    if (wants("sudo") || wants("userns")) && matches!(options.user, Some(User::Unprivileged)) {
        bail!("`--place {place}` runs programs as root: use `--place here`");
    }
    if wants("here") && user == UserKind::Root && !is_root {
        bail!("this user is not root: use `--place sudo`, `--place userns`, or a VM");
    }
    if wants("here") || wants("sudo") && is_root {
        return Err(take_over(program, arguments, user));
    }
    let program = Program::find(program, &options.with, &directory)?;
    if wants("sudo") {
        let mut place = SudoPlace::new()?;
        return attach(&mut place, &program, arguments, UserKind::Root);
    }
    let config = Config::load(&program.workspace)?;
    if wants("userns") {
        let mut place = UsernsPlace::new(&config)?;
        return attach(&mut place, &program, arguments, UserKind::Root);
    }
    let (vm, has_kvm) = match options.own.vm() {
        Some(vm) => (vm, false),
        None => places::vm_of(place, &config)?,
    };
    let qemu = options.qemu.or_configured(&config, &program.workspace)?;
    let program = program.with_excludes(config.package_files);
    let lock_file = program.workspace.join(LOCK_FILE);
    let target = program.target_directory();
    let mut place =
        provision::vm_place(&vm, &qemu, target.as_deref(), &lock_file, options.offline)?;
    if has_kvm {
        place = place.with_kvm();
    }
    attach(&mut place, &program, arguments, user)
}

/// Replaces this process by the program. Returns only if that fails.
fn take_over(program: &OsStr, arguments: &[OsString], user: UserKind) -> anyhow::Error {
    let mut command = process::Command::new(program);
    command.args(arguments);
    if user == UserKind::Unprivileged && nix::unistd::geteuid().is_root() {
        // Without supplementary groups, too.
        command.uid(NOBODY).gid(NOBODY);
    }
    anyhow::Error::new(command.exec()).context(format!("cannot run {}", program.display()))
}

/// Runs the program in a place, connected to the streams and signals of this process.
fn attach(
    place: &mut dyn Place,
    program: &Program,
    arguments: &[OsString],
    user: UserKind,
) -> Result<ProcessEnd> {
    let name = place.name().to_owned();
    let failed = |error: PlaceError| anyhow::anyhow!(error).context(name.clone());
    let session = place.open(&program.binary, user, StopToken::NEVER);
    let mut session = session.map_err(failed)?;
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
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let ended = session.attach(&AttachedCommand {
        arguments: &arguments,
        env: &callers.collect::<Vec<_>>(),
        directory: &program.directory,
        streams: Streams {
            stdin: io::stdin().as_fd(),
            stdout: io::stdout().as_fd(),
            stderr: io::stderr().as_fd(),
            signals: signals.as_fd(),
        },
    });
    handle.close();
    ended.map_err(failed)
}
