//! Starts a program without a copy of the agent's memory.
//!
//! Until it executes the program, the child uses this memory while the calling thread waits, as with
//! vfork(2). A copy of the page tables, and the page faults of both processes after it, take an emulated
//! CPU longer than the execution itself.
#![expect(
    unsafe_code,
    reason = "clone(2), and the system calls between it and execve(2)"
)]

use std::ffi::{CString, NulError, c_char};
use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use guest_agent::protocol::{Program, Stream, User};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, clone, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Pid, chdir, setsid};

use crate::sync::lock;
use crate::terminal::{self, Terminal};

/// The stack of a child until it executes its program.
static STACK: Mutex<[u8; 32 << 10]> = Mutex::new([0; 32 << 10]);

/// A program that was started.
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// Its standard input, if the host writes to it.
    pub(crate) input: Option<PipeWriter>,
    pub(crate) outputs: Vec<(Stream, PipeReader)>,
}

/// Starts a program in a session of its own, as its user. The agent has no inheritable and no ambient
/// capabilities, so another user than root has none.
pub(crate) fn spawn(program: &Program) -> io::Result<Spawned> {
    spawn_isolated(program, &|| isolate(program))
}

fn spawn_isolated(program: &Program, isolate: &dyn Fn() -> nix::Result<()>) -> io::Result<Spawned> {
    if let Some(size) = program.terminal {
        let terminal = Terminal::new(size, program.user)?;
        let pid = Image::of(program)?.start([terminal.program.as_raw_fd(); 3], isolate)?;
        return Ok(Spawned {
            pid,
            input: Some(terminal.host.try_clone()?.into()),
            outputs: vec![(Stream::Stdout, terminal.host.into())],
        });
    }
    let (stdin, input): (OwnedFd, _) = match program.attached {
        true => io::pipe().map(|(reader, writer)| (reader.into(), Some(writer)))?,
        false => (
            OpenOptions::new().read(true).open("/dev/null")?.into(),
            None,
        ),
    };
    let (reader, stdout) = io::pipe()?;
    let mut outputs = vec![(Stream::Stdout, reader)];
    let stderr = match program.joins_output {
        true => stdout.try_clone()?,
        false => {
            let (reader, stderr) = io::pipe()?;
            outputs.push((Stream::Stderr, reader));
            stderr
        }
    };
    let streams = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()];
    let pid = Image::of(program)?.start(streams, isolate)?;
    Ok(Spawned {
        pid,
        input,
        outputs,
    })
}

/// What execve(2) takes, and the working directory.
struct Image {
    path: CString,
    arguments: Strings,
    environment: Strings,
    directory: CString,
}

impl Image {
    fn of(program: &Program) -> Result<Self, NulError> {
        let variables = program.environment.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let arguments = std::iter::once(&program.path).chain(&program.arguments);
        Ok(Self {
            path: CString::new(&*program.path)?,
            arguments: Strings::of(arguments.cloned())?,
            environment: Strings::of(variables)?,
            directory: CString::new(&*program.directory)?,
        })
    }

    /// Executes the program in a child with these streams.
    fn start(&self, streams: [RawFd; 3], isolate: &dyn Fn() -> nix::Result<()>) -> io::Result<Pid> {
        let failed = AtomicI32::new(0);
        let child = || {
            let error = self.execute(streams, isolate);
            failed.store(error as i32, Ordering::Relaxed);
            127
        };
        let mut stack = lock(&STACK);
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: this thread waits until the child has executed its program or ended. Until then the
        // child makes system calls only, none of which is specific to this process's threads: it
        // allocates nothing, takes no lock, and no other child has its stack.
        let started = unsafe { clone(Box::new(child), &mut *stack, flags, Some(libc::SIGCHLD)) };
        let pid = started?;
        match failed.load(Ordering::Relaxed) {
            0 => Ok(pid),
            error => {
                // Nothing else waits for it: nothing is reaped while a child is started.
                let _ = nix::sys::wait::waitpid(pid, None);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// Becomes the program, in the child. Returns the error if that fails.
    fn execute(&self, streams: [RawFd; 3], isolate: &dyn Fn() -> nix::Result<()>) -> Errno {
        let prepared = || -> nix::Result<()> {
            for (stream, number) in streams.into_iter().zip(0..) {
                // SAFETY: the numbers are those of the child's standard streams.
                Errno::result(unsafe { libc::dup2(stream, number) })?;
            }
            chdir(self.directory.as_c_str())?;
            // The agent ignores it, and a program inherits that.
            // SAFETY: the default handler is no code of this process.
            unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
            isolate()
        };
        if let Err(error) = prepared() {
            return error;
        }
        let (arguments, environment) = (&self.arguments.pointers, &self.environment.pointers);
        // SAFETY: both lists end with a null pointer, and their texts live as long as this.
        unsafe {
            libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        Errno::last()
    }
}

/// Texts, and pointers to them with a null pointer at the end.
struct Strings {
    pointers: Vec<*const c_char>,
    _texts: Vec<CString>,
}

impl Strings {
    fn of(texts: impl Iterator<Item = String>) -> Result<Self, NulError> {
        let texts = texts.map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let pointers = texts.iter().map(|text| text.as_ptr());
        Ok(Self {
            pointers: pointers.chain([ptr::null()]).collect(),
            _texts: texts,
        })
    }
}

/// Moves a child to a new session, which a terminal may control, and sets its user. One without privileges cannot mount, and needs no
/// mount namespace, whose end waits for all CPUs.
fn isolate(program: &Program) -> nix::Result<()> {
    setsid()?;
    if program.terminal.is_some() {
        terminal::control()?;
    }
    let Some(User { uid, gid }) = program.user else {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        return mount(None::<&str>, c"/", None::<&str>, private, None::<&str>);
    };
    let no_groups = ptr::null::<libc::gid_t>();
    // SAFETY: no memory is passed. Those of the C library would change all threads of the agent.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, no_groups),
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        ]
    };
    results
        .into_iter()
        .try_for_each(|result| Errno::result(result).map(drop))
}

#[cfg(test)]
mod tests {
    //! **Scope**: all but users and mounts, which need root; `tests/places` runs programs in guests.

    use std::io::{Read, Write};

    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            path: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned(), "0".to_owned()],
            environment: vec![("WORD".to_owned(), "a b".to_owned())],
            directory: "/usr".to_owned(),
            ..Program::default()
        }
    }

    #[test]
    fn a_program_has_its_streams_folder_variables_and_session() {
        let script = "echo $0 $WORD $(pwd); echo $$ $(cut -d' ' -f6 /proc/$$/stat) >&2; \
                      cat; kill -PIPE $$";
        for joins_output in [false, true] {
            let program = Program {
                attached: true,
                joins_output,
                ..shell(script)
            };
            let mut spawned = spawn_isolated(&program, &|| setsid().map(drop)).unwrap();
            spawned.input.take().unwrap().write_all(b"in\n").unwrap();
            let texts = spawned.outputs.into_iter().map(|(stream, mut pipe)| {
                let mut text = String::new();
                pipe.read_to_string(&mut text).unwrap();
                (stream, text)
            });
            let texts: Vec<_> = texts.collect();
            let pid = spawned.pid;
            let [said, session] = ["0 a b /usr\n".to_owned(), format!("{pid} {pid}\n")];
            let expected = match joins_output {
                false => vec![(Stream::Stdout, said + "in\n"), (Stream::Stderr, session)],
                true => vec![(Stream::Stdout, said + &session + "in\n")],
            };
            assert_eq!(texts, expected);
            // The agent ignores SIGPIPE.
            let ended = WaitStatus::Signaled(pid, Signal::SIGPIPE, false);
            assert_eq!(waitpid(pid, None).unwrap(), ended);
        }
    }

    #[test]
    fn what_cannot_be_executed_is_an_error_and_leaves_no_child() {
        let absent = Program {
            path: "/no/such/program".to_owned(),
            ..shell("")
        };
        let elsewhere = Program {
            directory: "/no/such/folder".to_owned(),
            ..shell("")
        };
        let named = Program {
            path: "a\0b".to_owned(),
            ..shell("")
        };
        for (program, kind) in [
            (absent, io::ErrorKind::NotFound),
            (elsewhere, io::ErrorKind::NotFound),
            (named, io::ErrorKind::InvalidInput),
        ] {
            let error = spawn_isolated(&program, &|| Ok(())).err().unwrap();
            assert_eq!(error.kind(), kind, "{error}");
        }
        let refused = spawn_isolated(&shell(""), &|| Err(Errno::EPERM)).err();
        assert_eq!(refused.unwrap().raw_os_error(), Some(libc::EPERM));
    }
}
