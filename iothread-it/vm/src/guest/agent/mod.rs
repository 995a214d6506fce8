//! The host's end of the agent's channel.

mod disks;
mod error;
mod load;
mod program;
mod state;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guest_agent::protocol::{
    self, BootId, Command, Disk, Extent, FailureKind, Greeting, Identity, Load, Presence, Reply,
    Request, RequestId, Reseed, Serial,
};

pub use error::AgentError;
pub use load::RunningLoad;
use state::{End, OtherVersion, Progress, State};

use qmp_client::lines::Lines;
use qmp_client::wait::{Board, Deadline};

/// How long the guest may leave a request unread that has no deadline of its own.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the agent's own deadline gets on top before the host gives up: a slow guest shall still
/// be able to say that time is up.
const GRACE: Duration = Duration::from_secs(10);

/// How long an answer of the agent may take to arrive.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The shortest interval between two requests for the same disk. The agent waits for the disk itself,
/// but a guest that answers at once must not keep the host busy.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The channel to the agent of one VM.
#[derive(Debug)]
pub struct Agent {
    lines: Lines,
    board: Arc<Board<State>>,
    next_id: AtomicU64,
}

impl Agent {
    /// Takes the host's end of the channel. The agent greets once the guest has booted.
    ///
    /// # Errors
    /// If the reading thread cannot be started.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let board = Arc::new(Board::new(State::default()));
        let [taken, ended] = [(); 2].map(|()| Arc::clone(&board));
        let lines = Lines::open(
            stream,
            "agent-reader",
            WRITE_TIMEOUT,
            move |line| {
                taken.with(|state| state.take_line(line));
                // As long as it takes: who runs the program decides about that.
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
        })
    }

    /// Returns when the newest line of the agent's had been read, before anybody saw it.
    pub fn newest_line(&self) -> Option<Instant> {
        self.lines.newest()
    }

    /// Waits for the greeting of the current boot.
    ///
    /// # Errors
    /// If it does not come in time or is of another version.
    pub fn greeting(&self, deadline: Deadline) -> Result<Greeting, AgentError> {
        self.wait("the greeting", deadline, |state| state.greeting.clone())?
            .map_err(|OtherVersion(theirs)| AgentError::OtherVersion { theirs })
    }

    /// Waits for the greeting of another boot than `before`, as after a reset.
    ///
    /// # Errors
    /// If it does not come in time.
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
        .map_err(|OtherVersion(theirs)| AgentError::OtherVersion { theirs })
    }

    /// Gives a clone a clock, entropy and boot ID of its own, and waits for the
    /// greeting with the new boot ID.
    ///
    /// # Errors
    /// If the guest cannot be reseeded, or not in time.
    pub fn reseed(
        &self,
        saved: &BootId,
        reseed: &Reseed,
        deadline: Deadline,
    ) -> Result<Greeting, AgentError> {
        const AWAITED: &str = "the greeting of the restored guest";
        let command = Command::Reseed(reseed.clone());
        let id = self.send_in(Some(saved), AWAITED, command, Progress::default(), deadline)?;
        let ended = self.wait(AWAITED, deadline, |state| {
            if let Some(End::Answered(outcome)) = state.requests.get_mut(&id)?.end.take() {
                return Some(Err(End::Answered(outcome)));
            }
            let greeting = state.greeting.clone()?;
            let is_new = !matches!(&greeting, Ok(greeting) if greeting.boot_id == *saved);
            is_new.then_some(Ok(greeting))
        });
        self.board.with(|state| state.requests.remove(&id));
        match ended? {
            Ok(greeting) => {
                greeting.map_err(|OtherVersion(theirs)| AgentError::OtherVersion { theirs })
            }
            Err(end) => Err(end.into_error(AWAITED)),
        }
    }

    /// Asks by what the guest differs from others.
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

    /// Waits until the guest has a disk, or has it no more. Returns how long the agent took to say
    /// so, by the guest's own clock: from reading the kernel's uevent to its answer.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn await_disk(
        &self,
        serial: &Serial,
        presence: Presence,
        deadline: Deadline,
    ) -> Result<Duration, AgentError> {
        let awaited = match presence {
            Presence::Present => format!("disk {serial} in the guest"),
            Presence::Absent => format!("the end of disk {serial} in the guest"),
        };
        let mut last = None;
        loop {
            let asked = Deadline::after(RETRY_INTERVAL);
            // The agent gives up a little sooner, so that its answer tells what the guest has instead.
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
            let next = deadline.or_after(asked.remaining());
            match self.wait(&awaited, next, |_| None::<()>) {
                Err(error @ AgentError::TimedOut { .. }) if deadline.has_passed() => {
                    return Err(last.unwrap_or(error));
                }
                Err(AgentError::TimedOut { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the pattern. Returns the SHA-256 of what was written.
    ///
    /// # Errors
    /// If the guest cannot write it, or not in time.
    pub fn write(&self, extent: &Extent, deadline: Deadline) -> Result<String, AgentError> {
        let awaited = format!("the writing of {} bytes", extent.length);
        self.extent(&awaited, Command::Write(extent.clone()), deadline)
    }

    /// Reads back and compares with the pattern. Returns the SHA-256 of what was read.
    ///
    /// # Errors
    /// If the data is wrong, or cannot be read, or not in time.
    pub fn verify(&self, extent: &Extent, deadline: Deadline) -> Result<String, AgentError> {
        let awaited = format!("the reading of {} bytes", extent.length);
        self.extent(&awaited, Command::Verify(extent.clone()), deadline)
    }

    /// Starts a load and returns once every thread of it has completed an operation.
    ///
    /// # Errors
    /// If it cannot be started, or does not run in time.
    pub fn start_load(
        &self,
        load: &Load,
        deadline: Deadline,
    ) -> Result<RunningLoad<'_>, AgentError> {
        const AWAITED: &str = "the start of the load";
        let id = self.send(AWAITED, Command::Load(load.clone()), deadline)?;
        let running = RunningLoad { agent: self, id };
        let ended = self.wait(AWAITED, deadline, |state| {
            let progress = state.requests.get_mut(&id)?;
            if progress.running {
                return Some(None);
            }
            progress.end.take().map(Some)
        })?;
        match ended {
            // A load that ended at once still has its report to give.
            None | Some(End::Answered(Ok(_))) => {
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

    /// Writes a text into every file below the guest's `/sys` that a path names, `*` standing for
    /// any name.
    ///
    /// # Errors
    /// If it names none, or one cannot be written.
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
        self.ask(&format!("the writing of {path}"), command, deadline)
            .map(|_| ())
    }

    /// Resets a SCSI disk.
    ///
    /// # Errors
    /// If the guest cannot, or not in time.
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
            End::Answered(Ok(reply)) => Ok(reply),
            end => Err(end.into_error(awaited)),
        }
    }

    fn send(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<RequestId, AgentError> {
        self.send_in(None, awaited, command, Progress::default(), deadline)
    }

    /// Sends a request for the boot of the last greeting, unless `boot_id` names another.
    fn send_in(
        &self,
        boot_id: Option<&BootId>,
        awaited: &str,
        command: Command,
        progress: Progress,
        deadline: Deadline,
    ) -> Result<RequestId, AgentError> {
        let closed = |why: String| AgentError::Closed {
            awaited: awaited.to_owned(),
            why,
        };
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let boot_id = self.board.with(|state| {
            if let Some(why) = &state.closed {
                return Err(why.clone());
            }
            let greeting = state.greeting.as_ref().and_then(|g| g.as_ref().ok());
            let boot_id = boot_id
                .or(greeting.map(|greeting| &greeting.boot_id))
                .cloned();
            let boot_id = boot_id.ok_or("the agent has not greeted yet")?;
            state.requests.insert(id, progress);
            Ok(boot_id)
        });
        let boot_id = boot_id.map_err(closed)?;
        let line = protocol::encode(&Request {
            boot_id,
            id,
            command,
        });
        let failed = match self.lines.send_by(&line, None, deadline) {
            Ok(true) => return Ok(id),
            // Nothing of the line is written, so the channel can be used on.
            Ok(false) => AgentError::TimedOut {
                awaited: awaited.to_owned(),
                deadline,
            },
            Err(error) => {
                // Half of the line may be written, and the agent would read the next one as its rest.
                let why = format!("cannot write to it: {error}");
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
        // The reading thread may wait for room.
        self.board.with(|state| state.abandoned = true);
    }
}
