//! Runs a test under gdbserver in a place, and connects it to a socket for gdb.
//!
//! gdbserver speaks through its standard input and output, which every place connects to streams of this process,
//! so a guest needs no network.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{mem, thread};

use anyhow::{Context as _, Result};
use guest_vm::artifacts::{Store, provision_gdbserver};
use guest_vm::scratch::ScratchDir;
use kata_test_runner::{Binary, ProcessEnd, Session, UserKind, Workspace};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::find::Test;
use super::socket_folder;
use super::{Attached, Folders, Options, Prepare, attach, open_for, take_over};
use crate::cli::progress::PrintedProgress;
use crate::cli::run::program::locate;
use crate::place::quoted;

const GDB: &str = "gdb";
const GDBSERVER: &str = "gdbserver";

/// Runs the test. Returns when gdb has ended it or is gone.
pub(super) fn run(
    options: &Options,
    workspace: &Workspace,
    store: &Store,
    test: &Test,
    (user, prepare): (UserKind, &Prepare<'_>),
) -> Result<ProcessEnd> {
    let there = &options.there;
    if there.is_here() {
        return Err(here(test, user));
    }
    let server = server(store)?;
    let binary = &Binary {
        programs: [test.binary.programs.clone(), vec![server.clone()]].concat(),
        ..test.binary.clone()
    };
    let folders = Folders {
        root: &workspace.root,
        target: Some(workspace.target.clone()),
    };
    let mut place = open_for(options, test, &folders)?;
    let (scratch, listener) = listen()?;
    let (ours, theirs) = UnixStream::pair()?;
    let line = format!(
        "{GDB} {} -ex 'set sysroot /' -ex {}",
        quoted(&binary.executable.to_string_lossy()),
        target_of(&scratch)
    );
    // Ends with this process if no gdb connects.
    thread::spawn(move || connect(&listener, &ours, &line));
    // With no shell in between: a guest may lack that of the caller.
    let arguments = ["--no-startup-with-shell", "-"].map(OsString::from);
    let arguments: Vec<OsString> = arguments
        .into_iter()
        .chain([binary.executable.clone().into_os_string()])
        .chain(test.arguments.iter().cloned())
        .collect();
    let command = Attached {
        program: Some(&server),
        arguments: &arguments,
        directory: &binary.folder,
        streams: Some(theirs.as_fd()),
        prepare,
    };
    attach(place.as_mut(), binary, user, &command)
}

/// Makes a socket in a folder that is removed with this process, or after it.
fn listen() -> Result<(ScratchDir, UnixListener)> {
    let root = socket_folder::find(env::var_os("XDG_RUNTIME_DIR"), env::temp_dir());
    let scratch = root.and_then(|root| ScratchDir::new_in(&root));
    let scratch = scratch.context("cannot make a folder for the socket")?;
    let path = scratch.path().join(GDB);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen at {}", path.display()))?;
    Ok((scratch, listener))
}

/// The command that connects gdb to the socket, quoted for a shell.
fn target_of(scratch: &ScratchDir) -> String {
    quoted(&format!(
        "target remote {}",
        scratch.path().join(GDB).display()
    ))
}

/// A socket at which QEMU serves gdb for the kernel of a guest.
pub(super) struct KernelSocket {
    scratch: ScratchDir,
    listener: UnixListener,
    symbols: PathBuf,
}

impl KernelSocket {
    pub(super) fn new(symbols: &Path) -> Result<Self> {
        let found = std::fs::canonicalize(symbols);
        let symbols = found.with_context(|| format!("cannot find {}", symbols.display()))?;
        let (scratch, listener) = listen()?;
        Ok(Self {
            scratch,
            listener,
            symbols,
        })
    }

    /// Has the guest of the session served, and tells how to connect.
    pub(super) fn serve(&self, session: &mut dyn Session) -> Result<()> {
        end_by_signals().context("cannot handle signals")?;
        let served = session.serve_gdb(self.listener.try_clone()?);
        served.map_err(|error| anyhow::anyhow!(error))?;
        eprintln!(
            "to debug the kernel, type in another terminal\n\n    {GDB} {} -ex {}\n",
            quoted(&self.symbols.to_string_lossy()),
            target_of(&self.scratch)
        );
        Ok(())
    }
}

/// Ends this process by SIGHUP, or by a second SIGTERM: a guest that gdb has stopped gets no signals, and has no
/// time limit.
fn end_by_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM])?;
    thread::spawn(move || {
        let mut was_asked = false;
        for signal in &mut signals {
            if signal == SIGHUP || mem::replace(&mut was_asked, true) {
                let _ = emulate_default_handler(signal);
            }
        }
    });
    Ok(())
}

/// Replaces this process by gdb. Returns only if that fails.
fn here(test: &Test, user: UserKind) -> anyhow::Error {
    let mut command = test.binary.command(Path::new(GDB));
    command
        .arg("--args")
        .arg(&test.binary.executable)
        .args(&test.arguments);
    take_over(command, user).context("install the package gdb")
}

/// Returns the program of this host, or of the host's packages.
fn server(store: &Store) -> Result<PathBuf> {
    let directory = env::current_dir()?;
    if let Ok(found) = locate(GDBSERVER.as_ref(), &directory) {
        return Ok(found);
    }
    let progress = &mut PrintedProgress::default();
    let lock = store.lock(progress)?;
    provision_gdbserver(&lock, progress)
        .context("there is no gdbserver, and none can be fetched: install the package gdbserver")
}

/// Tells how to connect, waits for gdb, and passes on what it and gdbserver send.
fn connect(listener: &UnixListener, server: &UnixStream, line: &str) -> io::Result<()> {
    eprintln!("the test waits for gdb; in another terminal, type\n\n    {line}\n");
    let (gdb, _) = listener.accept()?;
    thread::scope(|scope| {
        scope.spawn(|| pass(server, &gdb));
        pass(&gdb, server);
    });
    Ok(())
}

/// Passes on bytes until the sender ends, which the receiver learns.
fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    // An error is an end, too.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
