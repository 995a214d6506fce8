//! Single processes of a test binary in a VM: plain tests, one process each.
//!
//! # Trust
//!
//! The tests of one session share a guest, as those of a batch do: one that is root there can forge the
//! output and the exit status of every test that runs in the session after it. A session has its own
//! clone, so nothing that it forges counts for a test of another session.
//!
//! After each process the agent reports what the process left behind: processes (which it kills) and,
//! for root, changes of mounts, kernel modules, network interfaces, the host name and System V IPC
//! objects. The session is then not clean, and the runner opens another. Files are no reason: tests of
//! one binary share them on the host too.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use kata_test_runner::{
    AttachedCommand, KernelLog, PlaceError, ProcessEnd, ProfileFile, Run, Session, SessionCommand,
    TestId, UserKind,
};

use super::VmPlace;
use super::attach::attach;
use super::environment::{RECORDS, set};
use super::files::{self, LOST, ProcessFiles};
use super::guest::{Guest, GuestError, user};
use super::run::{describe, exit_slowness, scale_of, slowness};
use super::saved::FailedTest;
use guest_vm::guest::protocol::{
    Exit, FailureKind, HOME, MAX_COLLECTED_BYTES, MAX_COLLECTED_FILES, Notice, Program, User,
};
use guest_vm::guest::{AgentError, speed};

/// How many bytes of the output are kept, beside its end.
const OUTPUT_LIMIT: u64 = 4 << 20;

/// The maximum size of a process's output, in bytes. An agent that works sends less.
const MAX_OUTPUT_BYTES: usize = 2 * OUTPUT_LIMIT as usize;

/// The maximum size of a process's files, in bytes: artifacts and profiles.
const MAX_RECEIVED_BYTES: u64 = 2 * (MAX_COLLECTED_BYTES + MAX_COLLECTED_FILES as u64);

/// A guest with one binary, in which tests run as one kind of user.
pub(super) struct VmSession<'a> {
    /// `None` if the guest was restored from a file.
    place: Option<&'a VmPlace>,
    /// `None` once it was saved.
    guest: Option<Guest>,
    /// `None` is root.
    user: Option<User>,
    /// The factor by which time limits are longer, once the slowness was measured.
    scale: Option<f64>,
    is_clean: bool,
    /// What the kernel logged while the last process ran.
    kernel_log: KernelLog,
    /// Which files of the last process did not come, and why.
    left_out: Vec<String>,
    /// The number of processes so far.
    processes: usize,
    /// Why the guest runs nothing more. It may have booted again, without the binary.
    crashed: Option<String>,
}

impl<'a> VmSession<'a> {
    /// Takes a guest in which no test has run.
    pub(super) fn new(place: &'a VmPlace, guest: Guest, kind: UserKind) -> Self {
        Self {
            place: Some(place),
            ..Self::restored(guest, (kind == UserKind::Unprivileged).then(user))
        }
    }

    /// Takes a guest that was saved. `None` is root.
    pub(super) fn restored(guest: Guest, user: Option<User>) -> Self {
        Self {
            place: None,
            guest: Some(guest),
            user,
            scale: None,
            is_clean: true,
            kernel_log: KernelLog::default(),
            left_out: Vec::new(),
            processes: 0,
            crashed: None,
        }
    }

    fn guest(&self) -> Result<&Guest, PlaceError> {
        let guest = self.guest.as_ref();
        guest.ok_or_else(|| "the guest was saved, and runs nothing more".into())
    }

    /// Returns the factor by which time limits are longer, which is measured before the first test.
    fn scale(&mut self) -> Result<f64, PlaceError> {
        static HERE: OnceLock<u64> = OnceLock::new();
        if let Some(scale) = self.scale {
            return Ok(scale);
        }
        let here = *HERE.get_or_init(speed::steps_per_s);
        let there = self.guest()?.speed()?;
        let slowness = slowness(here as f64, there.steps_per_s as f64);
        let scale = scale_of(slowness, exit_slowness(there.exits_per_s));
        Ok(*self.scale.insert(scale))
    }

    /// Returns a program of this user; without a path, the binary.
    fn program(
        &self,
        path: Option<&Path>,
        arguments: &[&OsStr],
        env: &[(OsString, OsString)],
        limit: Duration,
    ) -> Result<Program, PlaceError> {
        let arguments = arguments.iter().map(|argument| text(argument));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let mut program = self.guest()?.program(&arguments, limit);
        if let Some(path) = path {
            program.path = text(path.as_os_str())?;
        }
        let (user, home) = match self.user {
            None => ("root", "/root"),
            Some(_) => ("user", HOME),
        };
        for (name, value) in [("HOME", home), ("USER", user), ("LOGNAME", user)] {
            set(&mut program.environment, name, value);
        }
        for (name, value) in env {
            set(&mut program.environment, &text(name)?, &text(value)?);
        }
        program.user = self.user;
        Ok(program)
    }
}

impl Session for VmSession<'_> {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        if let Some(why) = &self.crashed {
            return Ok(ProcessEnd::Crashed(why.clone()));
        }
        let limit = scaled(command.limit, self.scale()?);
        let mut program = self.program(command.program, command.arguments, command.env, limit)?;
        program.output_limit = Some(OUTPUT_LIMIT);
        program.joins_output = true;
        self.processes += 1;
        let profile = ProfileFile::next(self.place.map_or("vm", |place| &place.name));
        let root = format!("{RECORDS}/files/{}", self.processes);
        files::collect(&mut program, root, None, profile.as_ref(), 1);
        let mut files = ProcessFiles::new(command.artifacts, profile);
        let (mut printed, mut received, mut has_left) = (0, 0, false);
        let mut log = KernelLog::default();
        let guest = self.guest()?;
        let ended = guest.run_until(command.stop, &program, &mut |notice| {
            match notice {
                Notice::Output { bytes, .. } => {
                    printed += bytes.0.len();
                    output(&bytes.0);
                }
                Notice::Left(_) => has_left = true,
                Notice::Collected(piece) => {
                    received += piece.bytes.0.len() as u64 + 1;
                    files.receive(&piece);
                }
                Notice::LeftOut { path, why } => {
                    printed += path.len() + 1;
                    files.leave_out(&path, why);
                }
                Notice::KernelMessage(text) => {
                    printed += text.len();
                    log.add_message(&text);
                }
                Notice::KernelTaint(bits) => {
                    printed += size_of_val(&bits);
                    log.add_taint(bits);
                }
                Notice::Appended { .. } | Notice::LoadRunning | Notice::Started => {}
            }
            if printed > MAX_OUTPUT_BYTES {
                let why = format!("the test printed more than {MAX_OUTPUT_BYTES} bytes");
                ControlFlow::Break(why)
            } else if received > MAX_RECEIVED_BYTES {
                let why = format!("the test left files of more than {MAX_RECEIVED_BYTES} bytes");
                ControlFlow::Break(why)
            } else {
                ControlFlow::Continue(())
            }
        });
        self.left_out = files.finish();
        // Many bugs are reported once in a boot only.
        self.is_clean &= !has_left && log.warning().is_none();
        self.kernel_log = log;
        let error = match ended {
            Ok(exit) => return Ok(end_of(exit)),
            Err(error @ GuestError::Io { .. }) => return Err(error.into()),
            Err(error) => error,
        };
        if command.stop.is_requested() {
            self.is_clean = false;
            return Ok(ProcessEnd::Stopped);
        }
        if let GuestError::Agent(AgentError::Failed(failure)) = &error {
            if failure.kind == FailureKind::TimedOut {
                return Ok(ProcessEnd::TimedOut(command.limit));
            }
            // It was not started, or a test before it has forged that.
            self.is_clean = false;
            return Err(failure.message.clone().into());
        }
        self.is_clean = false;
        if command.artifacts.is_some() {
            self.left_out.push(LOST.to_owned());
        }
        let why = describe(&error, self.guest()?);
        self.crashed = Some(why.clone());
        Ok(ProcessEnd::Crashed(why))
    }

    fn attach(&mut self, command: &AttachedCommand<'_>) -> Result<ProcessEnd, PlaceError> {
        self.is_clean = false;
        let (program, limit) = (command.program, Duration::MAX);
        let mut program = self.program(program, command.arguments, command.env, limit)?;
        program.directory = text(command.directory.as_os_str())?;
        let guest = self.guest()?;
        let ended = attach(guest.agent(), &program, &command.streams);
        match ended {
            Ok(exit) => Ok(end_of(exit)),
            // It was not started.
            Err(GuestError::Agent(AgentError::Failed(failure))) => Err(failure.message.into()),
            Err(error @ GuestError::Agent(_)) => Ok(ProcessEnd::Crashed(describe(&error, guest))),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&mut self, run: &Run, test: &TestId) -> Option<String> {
        let place = self.place.filter(|_| self.crashed.is_none())?;
        if !run.claim_saved_guest() {
            return None;
        }
        self.is_clean = false;
        let failed = FailedTest {
            run,
            test,
            place,
            user: self.user,
        };
        Some(failed.save(self.guest.take()?))
    }

    fn serve_gdb(&mut self, listener: UnixListener) -> Result<(), PlaceError> {
        Ok(self.guest()?.vm.serve_gdb(listener)?)
    }

    fn kernel_log(&mut self) -> KernelLog {
        std::mem::take(&mut self.kernel_log)
    }

    fn left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    fn is_clean(&mut self) -> bool {
        self.is_clean
    }

    fn uid(&self) -> u32 {
        self.user.map_or(0, |user| user.uid)
    }
}

fn end_of(exit: Exit) -> ProcessEnd {
    match exit {
        Exit::Code(code) => ProcessEnd::Exited(code),
        Exit::Signal(signal) => ProcessEnd::Signaled(signal),
    }
}

fn scaled(limit: Duration, scale: f64) -> Duration {
    Duration::try_from_secs_f64(limit.as_secs_f64() * scale).unwrap_or(Duration::MAX)
}

fn text(value: &OsStr) -> Result<String, PlaceError> {
    let text = value.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("cannot pass {value:?} to a guest: it is not UTF-8").into())
}
