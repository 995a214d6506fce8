//! What the agent says to the host: one message at a time, from any thread.

use std::sync::{Arc, Mutex, PoisonError};

use guest_agent::protocol::{Failure, Message, Notice, Reply, RequestId, encode};

use crate::console;
use crate::port::Port;

/// The one writer of the port.
pub(crate) struct Outbox {
    port: Arc<Port>,
    /// Held while a line is written, so that lines do not mix.
    turn: Mutex<()>,
}

impl Outbox {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self {
            port,
            turn: Mutex::new(()),
        }
    }

    /// Ends the line that a guest before this boot may have begun.
    pub(crate) fn end_cut_line(&self) {
        self.write(b"\n");
    }

    /// Sends a message. Without a port that takes it there is nobody to serve.
    pub(crate) fn send(&self, message: &Message) {
        self.write(&encode(message));
    }

    /// Says a step within a request.
    pub(crate) fn notice(&self, id: RequestId, notice: Notice) {
        self.send(&Message::Notice { id, notice });
    }

    /// Ends a request.
    pub(crate) fn answer(&self, id: RequestId, outcome: Result<Reply, Failure>) {
        self.send(&Message::Answer { id, outcome });
    }

    fn write(&self, line: &[u8]) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.port.write_all(line) {
            console::power_off(&format!("cannot write to the host's port: {error}"));
        }
    }
}
