//! What the reading thread knows, and the callers wait on.

use std::collections::HashMap;

use guest_agent::protocol::{self, Failure, Greeting, Message, Notice, Reply, RequestId};

use super::AgentError;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) greeting: Option<Result<Greeting, OtherVersion>>,
    pub(super) requests: HashMap<RequestId, Progress>,
    pub(super) closed: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OtherVersion(pub(super) u32);

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) running: bool,
    /// What a running program has said and nobody has taken yet.
    pub(super) notices: Vec<Notice>,
    pub(super) end: Option<End>,
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
                        notice => progress.notices.push(notice),
                    }
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
