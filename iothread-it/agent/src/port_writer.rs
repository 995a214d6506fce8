//! Writes messages to the host, one at a time, from any thread.

use std::sync::{Arc, Mutex};

use guest_agent::protocol::{Failure, Message, Notice, Reply, RequestId, encode};

use crate::console;
use crate::port::Port;
use crate::sync::lock;

/// Serializes the writes of all threads to the port.
pub(crate) struct PortWriter {
    port: Arc<Port>,
    /// Locked while a line is written, so that lines are not interleaved.
    turn: Mutex<()>,
}

impl PortWriter {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self {
            port,
            turn: Mutex::new(()),
        }
    }

    /// Ends a line that was truncated by a reset of the guest.
    pub(crate) fn end_truncated_line(&self) {
        self.write(b"\n");
    }

    /// Sends a message. Powers the guest off if that fails.
    pub(crate) fn send(&self, message: &Message) {
        self.write(&encode(message));
    }

    /// Sends an intermediate result of a request.
    pub(crate) fn notice(&self, id: RequestId, notice: Notice) {
        self.send(&Message::Notice { id, notice });
    }

    /// Sends the result of a request.
    pub(crate) fn answer(&self, id: RequestId, outcome: Result<Reply, Failure>) {
        self.send(&Message::Answer { id, outcome });
    }

    fn write(&self, line: &[u8]) {
        let _turn = lock(&self.turn);
        if let Err(error) = self.port.write_all(line) {
            console::power_off(&format!("cannot write to the host's port: {error}"));
        }
    }
}
