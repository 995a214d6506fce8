//! The state of the channel: the reader changes it, and callers wait for changes.
//!
//! The guest is not trusted, so its data is bounded: only notices of running programs are queued, up
//! to [`MAX_QUEUED_BYTES`], and messages are truncated.

use std::collections::HashMap;

use guest_agent::protocol::{self, Failure, Greeting, Message, Notice, Reply, RequestId};
use serde::Deserialize;

use super::AgentError;

/// Maximum size of the queued notices of a program. If it is reached, the reader stops, which blocks
/// the guest's writes.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// Maximum length of a failure message, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Of another version of the protocol, only that is known.
    pub(super) greeting: Option<Result<Greeting, u32>>,
    pub(super) requests: HashMap<RequestId, PendingRequest>,
    pub(super) closed: Option<String>,
    /// The agent is dropped, so notices are discarded.
    pub(super) abandoned: bool,
}

#[derive(Debug, Default)]
pub(super) struct PendingRequest {
    pub(super) running: bool,
    /// The queued notices of a program. `None` for other requests.
    pub(super) notices: Option<Vec<Notice>>,
    /// The size of the queued notices, in bytes.
    queued: usize,
    pub(super) end: Option<RequestEnd>,
}

impl PendingRequest {
    /// Makes the state of a request to run a program.
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

/// Returns the memory that a notice takes, in bytes.
fn size(notice: &Notice) -> usize {
    let text = match notice {
        Notice::LoadRunning | Notice::Started | Notice::KernelTaint(_) => 0,
        Notice::Left(text) | Notice::KernelMessage(text) => text.len(),
        Notice::Collected(piece) => piece.path.len() + piece.bytes.0.len(),
        Notice::LeftOut { path, .. } => path.len(),
        Notice::Output { bytes, .. } => bytes.0.len(),
        Notice::Appended { file, bytes } => file.len() + bytes.0.len(),
    };
    size_of::<Notice>() + text
}

#[derive(Debug)]
pub(super) enum RequestEnd {
    Answered(Result<Reply, Failure>),
    Reset,
}

impl RequestEnd {
    /// Returns whether it was answered without a failure.
    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Answered(Ok(_)))
    }

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
    /// Returns whether the queues have room for another line.
    pub(super) fn has_room(&self) -> bool {
        self.abandoned
            || self
                .requests
                .values()
                .all(|pending| pending.queued < MAX_QUEUED_BYTES)
    }

    /// Handles a line. A line truncated by a reset is ignored: the next greeting ends its request.
    pub(super) fn take_line(&mut self, line: &[u8]) {
        match protocol::decode::<Message>(line) {
            Ok(Message::Greeting(greeting)) if greeting.protocol == protocol::VERSION => {
                self.greet(Ok(greeting));
            }
            Ok(Message::Greeting(greeting)) => self.greet(Err(greeting.protocol)),
            Ok(Message::Notice { id, notice }) => {
                if let Some(pending) = self.requests.get_mut(&id) {
                    match notice {
                        Notice::LoadRunning => pending.running = true,
                        notice => pending.push(notice),
                    }
                }
            }
            Ok(Message::Answer { id, outcome }) => {
                if let Some(pending) = self.requests.get_mut(&id) {
                    pending.end = Some(RequestEnd::Answered(outcome.map_err(shortened)));
                }
            }
            Err(_) => {
                if let Some(version) = foreign_version(line) {
                    self.greet(Err(version));
                }
            }
        }
    }

    /// Closes the channel. The first reason is kept.
    pub(super) fn close(&mut self, why: String) {
        self.closed.get_or_insert(why);
    }

    fn greet(&mut self, greeting: Result<Greeting, u32>) {
        for pending in self.requests.values_mut() {
            pending.end.get_or_insert(RequestEnd::Reset);
        }
        self.greeting = Some(greeting);
    }
}

fn shortened(mut failure: Failure) -> Failure {
    let end = failure.message.floor_char_boundary(MAX_MESSAGE_BYTES);
    failure.message.truncate(end);
    failure
}

/// Reads the protocol version of a greeting with unknown fields.
fn foreign_version(line: &[u8]) -> Option<u32> {
    // A `Value` would take many times the memory of the text.
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
