//! The client of the guest agent.

mod disks;
mod error;
mod load;
mod program;
mod running_program;
mod state;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guest_agent::protocol::{
    self, BootId, Command, Disk, Extent, FailureKind, Greeting, Identity, Load, Presence, Reply,
    Request, RequestCounts, RequestId, Reseed, Serial,
};

pub use error::AgentError;
pub use load::RunningLoad;
pub use running_program::RunningProgram;
use state::{PendingRequest, RequestEnd, State};

use qmp_client::lines::Lines;
use qmp_client::wait::{Deadline, Watched};

/// How long the guest may take to read the request to run a program.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Added to the time limit of a program before the host stops waiting, so that the agent can report
/// the timeout. It takes 17 seconds if a killed process is blocked in the kernel.
const REPLY_MARGIN: Duration = Duration::from_secs(30);

/// The part of a deadline that is left for the answer of the agent to arrive.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The shortest interval between two requests to wait for a disk. The agent is expected to wait, but a
/// guest that answers at once must not keep the host busy.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The channel to the agent of one VM.
#[derive(Debug)]
pub struct Agent {
    lines: Lines,
    board: Arc<Watched<State>>,
    next_id: AtomicU64,
    /// Whether the guest may be stopped.
    has_pauses: AtomicBool,
}

impl Agent {
    /// From now on, a program may be silent for any time without the agent being checked: a debugger may have stopped
    /// the guest.
    pub(crate) fn expect_pauses(&self) {
        self.has_pauses.store(true, Ordering::Relaxed);
    }

    /// Takes the host's end of the channel. The agent sends a greeting when the guest has booted.
    ///
    /// # Errors
    /// If the reading thread cannot be started.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let board = Arc::new(Watched::new(State::default()));
        let [taken, ended] = [(); 2].map(|()| Arc::clone(&board));
        let lines = Lines::open(
            stream,
            "agent-reader",
            move |line| {
                taken.with(|state| state.take_line(line));
                // Without a deadline: whoever follows a program has one, and a program that is dropped leaves no queue.
                taken.wait(Deadline::after(Duration::MAX), |state| {
                    state.has_room().then_some(())
                });
            },
            move |why| ended.with(|state| state.close(why)),
        )?;
        Ok(Self {
            lines,
            board,
            next_id: AtomicU64::new(1),
            has_pauses: AtomicBool::new(false),
        })
    }

    /// Goes on where the channel to the same guest in another QEMU has ended, which the guest has left. What is
    /// answered of the requests there is dropped.
    pub(crate) fn continue_from(&self, left: &Self) {
        let greeting = left.board.with(|state| state.greeting.clone());
        self.board.with(|state| state.greeting = greeting);
        let next = left.next_id.load(Ordering::Relaxed);
        self.next_id.store(next, Ordering::Relaxed);
    }

    /// Returns when the newest line of the agent was read.
    pub fn newest_line(&self) -> Option<Instant> {
        self.lines.newest()
    }

    /// Waits for the greeting of the current boot.
    ///
    /// # Errors
    /// If the agent does not send it in time, or has another protocol version.
    pub fn greeting(&self, deadline: Deadline) -> Result<Greeting, AgentError> {
        self.wait("the greeting", deadline, |state| state.greeting.clone())?
            .map_err(|theirs| AgentError::VersionMismatch { theirs })
    }

    /// Waits for the greeting of a boot after `before`, as after a reset.
    ///
    /// # Errors
    /// As for [`Agent::greeting`].
    pub fn greeting_after(
        &self,
        before: &BootId,
        deadline: Deadline,
    ) -> Result<Greeting, AgentError> {
        self.wait(
            "the greeting after a reset",
            deadline,
            |state| match state.greeting.clone()? {
                Ok(greeting) if greeting.boot_id == *before => None,
                other => Some(other),
            },
        )?
        .map_err(|theirs| AgentError::VersionMismatch { theirs })
    }

    /// Gives a restored guest the current time, new entropy and a new boot id, and waits for its
    /// greeting.
    ///
    /// # Errors
    /// If the agent reports a failure or does not answer in time.
    pub fn reseed(
        &self,
        saved: &BootId,
        reseed: &Reseed,
        deadline: Deadline,
    ) -> Result<Greeting, AgentError> {
        const AWAITED: &str = "the greeting of the restored guest";
        let command = Command::Reseed(reseed.clone());
        let id = self.send_in(
            Some(saved),
            AWAITED,
            command,
            PendingRequest::default(),
            deadline,
        )?;
        let ended = self.wait(AWAITED, deadline, |state| {
            if let Some(RequestEnd::Answered(outcome)) = state.requests.get_mut(&id)?.end.take() {
                return Some(Err(RequestEnd::Answered(outcome)));
            }
            let greeting = state.greeting.clone()?;
            let is_new = !matches!(&greeting, Ok(greeting) if greeting.boot_id == *saved);
            is_new.then_some(Ok(greeting))
        });
        self.board.with(|state| state.requests.remove(&id));
        match ended? {
            Ok(greeting) => greeting.map_err(|theirs| AgentError::VersionMismatch { theirs }),
            Err(end) => Err(end.into_error(AWAITED)),
        }
    }

    /// Returns what distinguishes the guest from other clones: boot id, clock and random numbers.
    ///
    /// # Errors
    /// If the agent does not answer in time.
    pub fn identity(&self, deadline: Deadline) -> Result<Identity, AgentError> {
        const AWAITED: &str = "the guest's identity";
        match self.ask(AWAITED, Command::Identity, deadline)? {
            Reply::Identity(identity) => Ok(identity),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }

    /// Lists the guest's disks.
    ///
    /// # Errors
    /// If the agent does not answer in time.
    pub fn disks(&self, deadline: Deadline) -> Result<Vec<Disk>, AgentError> {
        const AWAITED: &str = "the list of disks";
        match self.ask(AWAITED, Command::Disks, deadline)? {
            Reply::Disks(disks) => Ok(disks),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }

    /// Waits until a disk is present or absent in the guest. Returns the time from the kernel's uevent
    /// to the answer of the agent, by the clock of the guest.
    ///
    /// # Errors
    /// If the disk is not in that state by the deadline.
    pub fn await_disk(
        &self,
        serial: &Serial,
        presence: Presence,
        deadline: Deadline,
    ) -> Result<Duration, AgentError> {
        let awaited = match presence {
            Presence::Present => format!("disk {serial} in the guest"),
            Presence::Absent => format!("the removal of disk {serial} in the guest"),
        };
        let mut last = None;
        loop {
            let asked = Deadline::after(RETRY_INTERVAL);
            // The agent times out earlier, so that its answer can report what the guest has instead.
            let left = deadline.remaining();
            let timeout = left - (left / 4).min(ANSWER_MARGIN);
            let command = Command::AwaitDisk {
                serial: serial.clone(),
                presence,
                timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            };
            match self.ask(&awaited, command, deadline) {
                Ok(Reply::Awaited { known_for_ns }) => {
                    return Ok(Duration::from_nanos(known_for_ns));
                }
                Ok(_) => return Err(AgentError::wrong_reply(&awaited)),
                Err(AgentError::Failed(failure)) if failure.kind == FailureKind::TimedOut => {
                    last = Some(AgentError::Failed(failure));
                }
                Err(error @ AgentError::TimedOut { .. }) => return Err(last.unwrap_or(error)),
                Err(error) => return Err(error),
            }
            let next = deadline.capped_at(asked.remaining());
            match self.wait(&awaited, next, |_| None::<()>) {
                Err(error @ AgentError::TimedOut { .. }) if deadline.has_passed() => {
                    return Err(last.unwrap_or(error));
                }
                Err(AgentError::TimedOut { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the pattern to an extent. Returns the SHA-256 of the data.
    ///
    /// # Errors
    /// If the agent reports a failure or does not answer in time.
    pub fn write(&self, extent: &Extent, deadline: Deadline) -> Result<String, AgentError> {
        let awaited = format!("a write of {} bytes", extent.length);
        self.extent(&awaited, Command::Write(extent.clone()), deadline)
    }

    /// Reads an extent and compares it with the pattern. Returns the SHA-256 of the data.
    ///
    /// # Errors
    /// If the data differs, or the agent reports a failure or does not answer in time.
    pub fn verify(&self, extent: &Extent, deadline: Deadline) -> Result<String, AgentError> {
        let awaited = format!("a read of {} bytes", extent.length);
        self.extent(&awaited, Command::Verify(extent.clone()), deadline)
    }

    /// Starts a load and waits until each of its threads has completed one operation.
    ///
    /// # Errors
    /// If the agent reports a failure, or the load does not start in time.
    pub fn start_load(
        &self,
        load: &Load,
        deadline: Deadline,
    ) -> Result<RunningLoad<'_>, AgentError> {
        const AWAITED: &str = "the start of the load";
        let id = self.send(AWAITED, Command::Load(load.clone()), deadline)?;
        let running = RunningLoad { agent: self, id };
        let ended = self.wait(AWAITED, deadline, |state| {
            let pending = state.requests.get_mut(&id)?;
            if pending.running {
                return Some(None);
            }
            pending.end.take().map(Some)
        })?;
        match ended {
            // The report of a load that has already ended is for `finish`.
            None | Some(RequestEnd::Answered(Ok(_))) => {
                if let Some(end) = ended {
                    self.board.with(|state| {
                        state.requests.entry(id).or_default().end = Some(end);
                    });
                }
                Ok(running)
            }
            Some(end) => Err(end.into_error(AWAITED)),
        }
    }

    /// Makes requests of every kind on an extent; see [`Command::MakeRequests`]. Returns how many.
    ///
    /// # Errors
    /// If the data differs afterwards, or the agent reports a failure or does not answer in time.
    pub fn make_requests(
        &self,
        extent: &Extent,
        deadline: Deadline,
    ) -> Result<RequestCounts, AgentError> {
        const AWAITED: &str = "requests of every kind";
        match self.ask(AWAITED, Command::MakeRequests(extent.clone()), deadline)? {
            Reply::Requests(counts) => Ok(counts),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }

    /// Writes a text to every file below `/sys` that matches `path`, where `*` matches any name.
    ///
    /// # Errors
    /// If no file matches, one cannot be written, or the agent does not answer in time.
    pub fn set_attribute(
        &self,
        path: &str,
        text: &str,
        deadline: Deadline,
    ) -> Result<(), AgentError> {
        let command = Command::SetAttribute {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        self.ask(&format!("a write to {path}"), command, deadline)
            .map(|_| ())
    }

    /// Resets a SCSI disk.
    ///
    /// # Errors
    /// If the agent reports a failure or does not answer in time.
    pub fn reset_disk(&self, serial: &Serial, deadline: Deadline) -> Result<(), AgentError> {
        let command = Command::ResetDisk {
            serial: serial.clone(),
        };
        self.ask(&format!("the reset of {serial}"), command, deadline)
            .map(|_| ())
    }

    fn extent(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<String, AgentError> {
        match self.ask(awaited, command, deadline)? {
            Reply::Extent { sha256 } => Ok(sha256),
            _ => Err(AgentError::wrong_reply(awaited)),
        }
    }

    fn ask(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<Reply, AgentError> {
        let id = self.send(awaited, command, deadline)?;
        self.answer(awaited, id, deadline)
    }

    fn answer(
        &self,
        awaited: &str,
        id: RequestId,
        deadline: Deadline,
    ) -> Result<Reply, AgentError> {
        let end = self.wait(awaited, deadline, |state| {
            state.requests.get_mut(&id)?.end.take()
        });
        self.board.with(|state| state.requests.remove(&id));
        match end? {
            RequestEnd::Answered(Ok(reply)) => Ok(reply),
            end => Err(end.into_error(awaited)),
        }
    }

    fn send(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<RequestId, AgentError> {
        self.send_in(None, awaited, command, PendingRequest::default(), deadline)
    }

    /// Sends a request with the given boot id, or else the one of the last greeting.
    fn send_in(
        &self,
        boot_id: Option<&BootId>,
        awaited: &str,
        command: Command,
        pending: PendingRequest,
        deadline: Deadline,
    ) -> Result<RequestId, AgentError> {
        let closed = |why: String| AgentError::Closed {
            awaited: awaited.to_owned(),
            why,
        };
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let boot_id = self.board.with(|state| {
            if let Some(why) = &state.closed {
                return Err(closed(why.clone()));
            }
            let boot_id = match (boot_id, &state.greeting) {
                (Some(given), _) => given,
                (None, Some(Ok(greeting))) => &greeting.boot_id,
                (None, Some(Err(theirs))) => {
                    return Err(AgentError::VersionMismatch { theirs: *theirs });
                }
                (None, None) => return Err(AgentError::NoGreeting),
            };
            let boot_id = boot_id.clone();
            state.requests.insert(id, pending);
            Ok(boot_id)
        })?;
        let line = protocol::encode(&Request {
            boot_id,
            id,
            command,
        });
        let failed = match self.lines.send_by(&line, None, deadline) {
            Ok(true) => return Ok(id),
            // No byte is written, so the channel stays usable.
            Ok(false) => AgentError::TimedOut {
                awaited: awaited.to_owned(),
                deadline,
            },
            Err(error) => {
                // Part of the line may be written, and the agent would read the next line as its rest.
                let why = format!("cannot write to the channel: {error}");
                self.board.with(|state| state.close(why.clone()));
                closed(why)
            }
        };
        self.board.with(|state| state.requests.remove(&id));
        Err(failed)
    }

    fn wait<T>(
        &self,
        awaited: &str,
        deadline: Deadline,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, AgentError> {
        let result = self.board.wait(deadline, |state| {
            if let Some(found) = look(state) {
                return Some(Ok(found));
            }
            let why = state.closed.clone()?;
            Some(Err(AgentError::Closed {
                awaited: awaited.to_owned(),
                why,
            }))
        });
        result.unwrap_or_else(|| {
            Err(AgentError::TimedOut {
                awaited: awaited.to_owned(),
                deadline,
            })
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The reader may be waiting for room.
        self.board.with(|state| state.abandoned = true);
    }
}
