//! What the reading thread knows, and the callers wait on.
//!
//! The guest is not trusted, so all that is kept of it is bounded: notices are kept for a running
//! program alone, [`QUEUE`] bytes of them, and messages are cut.

use std::collections::HashMap;

use guest_agent::protocol::{self, Failure, Greeting, Message, Notice, Reply, RequestId};
use serde::Deserialize;

use super::AgentError;

/// How many bytes of a program's notices are kept until they are taken. The reading thread waits
/// then, and QEMU and the guest with it.
const QUEUE: usize = 1 << 20;

/// How much is kept of the text of a failure, in bytes.
const LONGEST_MESSAGE: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) greeting: Option<Result<Greeting, OtherVersion>>,
    pub(super) requests: HashMap<RequestId, Progress>,
    pub(super) closed: Option<String>,
    /// Nobody takes notices any more.
    pub(super) abandoned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OtherVersion(pub(super) u32);

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) running: bool,
    /// What a running program has said and nobody has taken yet. `None`: this is no program.
    pub(super) notices: Option<Vec<Notice>>,
    /// The bytes of these.
    queued: usize,
    pub(super) end: Option<End>,
}

impl Progress {
    /// Of a program whose notices are taken.
    pub(super) fn of_program() -> Self {
        Self {
            notices: Some(Vec::new()),
            ..Self::default()
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.queued > 0 || self.end.is_some()
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        self.queued = 0;
        self.notices
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn push(&mut self, notice: Notice) {
        let Some(notices) = &mut self.notices else {
            return;
        };
        self.queued += size(&notice);
        notices.push(notice);
    }
}

/// The memory that a notice takes, in bytes.
fn size(notice: &Notice) -> usize {
    let text = match notice {
        Notice::LoadRunning => 0,
        Notice::Output { bytes, .. } => bytes.0.len(),
        Notice::Appended { file, bytes } => file.len() + bytes.0.len(),
    };
    size_of::<Notice>() + text
}

#[derive(Debug)]
pub(super) enum End {
    Answered(Result<Reply, Failure>),
    Reset,
}

impl End {
    pub(super) fn into_error(self, awaited: &str) -> AgentError {
        match self {
            Self::Answered(Err(failure)) => AgentError::Failed(failure),
            Self::Answered(Ok(_)) => AgentError::wrong_reply(awaited),
            Self::Reset => AgentError::Reset {
                awaited: awaited.to_owned(),
            },
        }
    }
}

impl State {
    /// Whether another line can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.abandoned
            || self
                .requests
                .values()
                .all(|progress| progress.queued < QUEUE)
    }

    /// Puts a line where it belongs. A line that a reset cut is passed over: the greeting that
    /// follows ends what it belonged to.
    pub(super) fn take_line(&mut self, line: &[u8]) {
        match protocol::decode::<Message>(line) {
            Ok(Message::Greeting(greeting)) if greeting.protocol == protocol::VERSION => {
                self.greet(Ok(greeting));
            }
            Ok(Message::Greeting(greeting)) => self.greet(Err(OtherVersion(greeting.protocol))),
            Ok(Message::Notice { id, notice }) => {
                if let Some(progress) = self.requests.get_mut(&id) {
                    match notice {
                        Notice::LoadRunning => progress.running = true,
                        notice => progress.push(notice),
                    }
                }
            }
            Ok(Message::Answer { id, outcome }) => {
                if let Some(progress) = self.requests.get_mut(&id) {
                    progress.end = Some(End::Answered(outcome.map_err(shortened)));
                }
            }
            Err(_) => {
                if let Some(version) = foreign_version(line) {
                    self.greet(Err(OtherVersion(version)));
                }
            }
        }
    }

    /// Notes why the channel is of no use any more. The first reason counts.
    pub(super) fn close(&mut self, why: String) {
        self.closed.get_or_insert(why);
    }

    fn greet(&mut self, greeting: Result<Greeting, OtherVersion>) {
        for progress in self.requests.values_mut() {
            progress.end.get_or_insert(End::Reset);
        }
        self.greeting = Some(greeting);
    }
}

fn shortened(mut failure: Failure) -> Failure {
    let end = failure.message.floor_char_boundary(LONGEST_MESSAGE);
    failure.message.truncate(end);
    failure
}

/// Reads the version of a greeting whose other fields this version does not know.
fn foreign_version(line: &[u8]) -> Option<u32> {
    // Not as a `Value`, which takes many times the memory of its text.
    #[derive(Deserialize)]
    struct Line {
        greeting: Versioned,
    }
    #[derive(Deserialize)]
    struct Versioned {
        protocol: u32,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    Some(line.greeting.protocol)
}
