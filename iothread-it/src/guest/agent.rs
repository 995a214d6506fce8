//! The host's end of the agent's channel.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use iothread_it_agent::protocol::{
    self, Command, Disk, Epoch, Extent, Failure, Greeting, Load, LoadReport, Message, Notice,
    Presence, Reply, Request, RequestId, Serial,
};

use crate::wait::{Board, Deadline};

/// How long the guest may leave a request unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the agent's own deadline gets on top before the host gives up: a slow guest shall still
/// be able to say that time is up.
const GRACE: Duration = Duration::from_secs(10);

/// Why a request to the agent has no result.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent could not do it.
    #[error("the guest's agent failed: {0}")]
    Failed(#[from] Failure),
    /// No answer.
    #[error("{awaited} did not come from the guest's agent within {deadline}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        deadline: Deadline,
    },
    /// The guest has started again, so the answer will never come.
    #[error("the guest was reset while waiting for {awaited}")]
    Reset {
        /// What was awaited.
        awaited: String,
    },
    /// The channel has ended, mostly because QEMU has.
    #[error("the agent's channel ended while waiting for {awaited}: {why}")]
    Closed {
        /// What was awaited.
        awaited: String,
        /// How it ended.
        why: String,
    },
    /// The boot image has another version's agent.
    #[error(
        "the guest's agent speaks version {theirs} of the protocol and this host version {}; \
         `cargo xtask it` makes a new boot image",
        protocol::VERSION
    )]
    OtherVersion {
        /// The agent's version.
        theirs: u32,
    },
    /// An answer to another question.
    #[error("the guest's agent answered {awaited} with something else")]
    WrongReply {
        /// What was awaited.
        awaited: String,
    },
}

/// The channel to the agent of one VM.
#[derive(Debug)]
pub struct Agent {
    writer: Mutex<UnixStream>,
    board: Arc<Board<State>>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    greeting: Option<Result<Greeting, OtherVersion>>,
    requests: HashMap<RequestId, Progress>,
    closed: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct OtherVersion(u32);

#[derive(Debug, Default)]
struct Progress {
    running: bool,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Answered(Result<Reply, Failure>),
    Reset,
}

impl Agent {
    /// Takes the host's end of the channel. The agent greets once the guest has booted.
    ///
    /// # Errors
    /// If the reading thread cannot be started.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let board = Arc::new(Board::new(State::default()));
        let reader = stream.try_clone()?;
        let filled = Arc::clone(&board);
        thread::Builder::new()
            .name("agent-reader".into())
            .spawn(move || read_all(reader, &filled))?;
        Ok(Self {
            writer: Mutex::new(stream),
            board,
            next_id: AtomicU64::new(1),
        })
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
        before: &Epoch,
        deadline: Deadline,
    ) -> Result<Greeting, AgentError> {
        self.wait(
            "the greeting after a reset",
            deadline,
            |state| match state.greeting.clone()? {
                Ok(greeting) if greeting.epoch == *before => None,
                other => Some(other),
            },
        )?
        .map_err(|OtherVersion(theirs)| AgentError::OtherVersion { theirs })
    }

    /// Lists the guest's disks.
    ///
    /// # Errors
    /// If the agent does not answer in time.
    pub fn disks(&self, deadline: Deadline) -> Result<Vec<Disk>, AgentError> {
        const AWAITED: &str = "the list of disks";
        match self.ask(AWAITED, Command::Disks, deadline)? {
            Reply::Disks(disks) => Ok(disks),
            _ => Err(wrong_reply(AWAITED)),
        }
    }

    /// Waits until the guest has a disk, or has it no more.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn await_disk(
        &self,
        serial: &Serial,
        presence: Presence,
        deadline: Deadline,
    ) -> Result<(), AgentError> {
        let awaited = match presence {
            Presence::Present => format!("disk {serial} in the guest"),
            Presence::Absent => format!("the end of disk {serial} in the guest"),
        };
        let timeout = deadline.remaining();
        let command = Command::AwaitDisk {
            serial: serial.clone(),
            presence,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        self.ask(&awaited, command, Deadline::after(timeout + GRACE))
            .map(|_| ())
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
        let id = self.send(AWAITED, Command::Load(load.clone()))?;
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

    fn extent(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<String, AgentError> {
        match self.ask(awaited, command, deadline)? {
            Reply::Extent { sha256 } => Ok(sha256),
            _ => Err(wrong_reply(awaited)),
        }
    }

    fn ask(
        &self,
        awaited: &str,
        command: Command,
        deadline: Deadline,
    ) -> Result<Reply, AgentError> {
        let id = self.send(awaited, command)?;
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

    fn send(&self, awaited: &str, command: Command) -> Result<RequestId, AgentError> {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let epoch = self.board.with(|state| {
            let greeting = state.greeting.as_ref().and_then(|g| g.as_ref().ok());
            let epoch = greeting.map(|greeting| greeting.epoch.clone());
            if epoch.is_some() {
                state.requests.insert(id, Progress::default());
            }
            epoch
        });
        let Some(epoch) = epoch else {
            return Err(AgentError::Closed {
                awaited: awaited.to_owned(),
                why: "the agent has not greeted yet".into(),
            });
        };
        let line = protocol::encode(&Request { epoch, id, command });
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&line)
            .map_err(|error| AgentError::Closed {
                awaited: awaited.to_owned(),
                why: format!("cannot write to it: {error}"),
            })?;
        Ok(id)
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
        // Ends the reader thread, which holds a descriptor of its own.
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = writer.shutdown(std::net::Shutdown::Both);
    }
}

/// A load that runs in the guest.
#[derive(Debug)]
#[must_use = "a load ends by itself, but only `finish` tells what it did"]
pub struct RunningLoad<'a> {
    agent: &'a Agent,
    id: RequestId,
}

impl RunningLoad<'_> {
    /// Waits for the load's end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn finish(self, deadline: Deadline) -> Result<LoadReport, AgentError> {
        const AWAITED: &str = "the end of the load";
        match self.agent.answer(AWAITED, self.id, deadline)? {
            Reply::Load(report) => Ok(report),
            _ => Err(wrong_reply(AWAITED)),
        }
    }
}

impl End {
    fn into_error(self, awaited: &str) -> AgentError {
        match self {
            Self::Answered(Err(failure)) => AgentError::Failed(failure),
            Self::Answered(Ok(_)) => wrong_reply(awaited),
            Self::Reset => AgentError::Reset {
                awaited: awaited.to_owned(),
            },
        }
    }
}

fn wrong_reply(awaited: &str) -> AgentError {
    AgentError::WrongReply {
        awaited: awaited.to_owned(),
    }
}

fn read_all(stream: UnixStream, board: &Board<State>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let why = loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break "QEMU closed it".to_owned(),
            Ok(_) => board.with(|state| state.take_line(&line)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error.to_string(),
        }
    };
    board.with(|state| state.closed = Some(why));
}

impl State {
    /// Puts a line where it belongs. A line that a reset cut is passed over: the greeting that
    /// follows ends what it belonged to.
    fn take_line(&mut self, line: &[u8]) {
        match protocol::decode::<Message>(line) {
            Ok(Message::Greeting(greeting)) if greeting.protocol == protocol::VERSION => {
                self.greet(Ok(greeting));
            }
            Ok(Message::Greeting(greeting)) => self.greet(Err(OtherVersion(greeting.protocol))),
            Ok(Message::Notice {
                id,
                notice: Notice::LoadRunning,
            }) => {
                if let Some(progress) = self.requests.get_mut(&id) {
                    progress.running = true;
                }
            }
            Ok(Message::Answer { id, outcome }) => {
                if let Some(progress) = self.requests.get_mut(&id) {
                    progress.end = Some(End::Answered(outcome));
                }
            }
            Err(_) => {
                if let Some(version) = foreign_version(line) {
                    self.greet(Err(OtherVersion(version)));
                }
            }
        }
    }

    fn greet(&mut self, greeting: Result<Greeting, OtherVersion>) {
        for progress in self.requests.values_mut() {
            progress.end.get_or_insert(End::Reset);
        }
        self.greeting = Some(greeting);
    }
}

/// Reads the version of a greeting whose other fields this version does not know.
fn foreign_version(line: &[u8]) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let version = value.get("greeting")?.get("protocol")?.as_u64()?;
    u32::try_from(version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> (Agent, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Agent::new(ours).unwrap(), theirs)
    }

    fn greeting(epoch: &str) -> Vec<u8> {
        protocol::encode(&Message::Greeting(Greeting {
            protocol: protocol::VERSION,
            epoch: Epoch(epoch.into()),
            kernel: "6.1".into(),
            cpus: 1,
        }))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    #[test]
    fn a_reset_ends_what_was_outstanding_even_in_mid_line() {
        let (agent, mut guest) = channel();
        guest.write_all(&greeting("one")).unwrap();
        agent.greeting(soon()).unwrap();
        let result = thread::scope(|scope| {
            let asking = scope.spawn(|| agent.disks(soon()));
            let mut request = String::new();
            BufReader::new(guest.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            guest.write_all(b"{\"answer\":{\"id\":1,\"outc\n").unwrap();
            guest.write_all(&greeting("two")).unwrap();
            asking.join().unwrap()
        });
        assert!(
            matches!(result, Err(AgentError::Reset { .. })),
            "{result:?}"
        );
        let second = agent.greeting_after(&Epoch("one".into()), soon()).unwrap();
        assert_eq!(second.epoch, Epoch("two".into()));
    }

    #[test]
    fn an_agent_of_another_version_is_told_as_such() {
        let (agent, mut guest) = channel();
        guest
            .write_all(b"\n{\"greeting\":{\"protocol\":9,\"boot\":\"x\"}}\n")
            .unwrap();
        let error = agent.greeting(soon()).unwrap_err();
        assert!(
            matches!(error, AgentError::OtherVersion { theirs: 9 }),
            "{error}"
        );
    }

    #[test]
    fn a_closed_channel_ends_the_wait() {
        let (agent, guest) = channel();
        drop(guest);
        let error = agent.greeting(soon()).unwrap_err();
        assert!(matches!(error, AgentError::Closed { .. }), "{error}");
    }
}
