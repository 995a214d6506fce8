//! QMP without I/O: lines to messages, and commands to lines.
//!
//! [`parse`] reads one line, [`Decoder`](crate::Decoder) a stream of bytes, and [`Request`] is a command of any type
//! that is ready to be sent. Nothing here opens a socket, starts a thread or reads a clock, so a VM
//! manager can use it with its own connection, blocking or not.
//!
//! ```
//! use qmp_client::codec::{self, Message, Request};
//! use qmp_client::command::{DeviceDel, QmpCapabilities, QueryIothreads};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // QEMU greets first, and takes no other command before `qmp_capabilities`.
//! let line = br#"{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}}, "capabilities": []}}"#;
//! let Message::Greeting(greeting) = codec::parse(line)? else { panic!("not a greeting") };
//! assert_eq!(greeting.version.unwrap().to_string(), "10.0.2");
//! assert_eq!(
//!     Request::new(&QmpCapabilities {})?.encode(1),
//!     b"{\"execute\":\"qmp_capabilities\",\"arguments\":{},\"id\":1}\n"
//! );
//!
//! // A reply has the id of its command, and the type that belongs to the command.
//! let query = Request::new(&QueryIothreads {})?.encode(2);
//! # let _ = query;
//! let line = br#"{"return": [{"id": "t0", "thread-id": 4711, "poll-max-ns": 32768}], "id": 2}"#;
//! let Message::Reply(reply) = codec::parse(line)? else { panic!("not a reply") };
//! assert_eq!(reply.id, 2);
//! let threads = codec::read_return::<QueryIothreads>(reply.result?)?;
//! assert_eq!(threads[0].thread_id, 4711);
//!
//! // A refusal is a reply too. Its class is text: QEMU may add classes.
//! let request = Request::new(&DeviceDel { id: "disk0" })?;
//! assert_eq!(request.name(), "device_del");
//! let line = br#"{"error": {"class": "DeviceNotFound", "desc": "Device 'disk0' not found"}, "id": 3}"#;
//! let Message::Reply(reply) = codec::parse(line)? else { panic!("not a reply") };
//! assert_eq!(reply.result.unwrap_err().class, "DeviceNotFound");
//!
//! // Events come at any time, also between a command and its reply.
//! let line = br#"{"event": "DEVICE_DELETED", "data": {"device": "disk0"}}"#;
//! let Message::Event(event) = codec::parse(line)? else { panic!("not an event") };
//! assert_eq!(event.str("device"), Some("disk0"));
//! # Ok(())
//! # }
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::Command;
use crate::event::Event;
use crate::version::QemuVersion;

/// Maximum length of a line with its end, in bytes. QEMU's longest is its schema with 250 kB,
/// the guest agent's a piece of a file with some 400 kB.
pub const MAX_LINE_LENGTH: usize = 2 << 20;

/// A message that QEMU sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of a connection. Events may precede it.
    Greeting(Greeting),
    /// The reply to a command.
    Reply(Reply),
    /// An event.
    Event(Event),
    /// An error without an id: QEMU could not parse a line, so it does not know which command it was.
    Error(ErrorReply),
}

/// The greeting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// QEMU's version.
    pub version: Option<QemuVersion>,
    /// Optional features of the connection, such as `oob`.
    pub capabilities: Vec<String>,
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The id that the command was sent with.
    pub id: u64,
    /// What the command returned, or why QEMU refused it.
    pub result: Result<Value, ErrorReply>,
}

/// QEMU's error object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{desc}")]
pub struct ErrorReply {
    /// The class, such as `GenericError` or `DeviceNotFound`. Not an enum: QEMU may add classes.
    pub class: String,
    /// The description, for people.
    pub desc: String,
}

/// A line that is not a QMP message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The line is too long. A stream cannot be read on from here.
    #[error("the line is longer than {MAX_LINE_LENGTH} bytes")]
    TooLong,
    /// The line is not JSON, or a member has another type than QMP documents.
    #[error("the line is not a QMP message")]
    Json(#[from] serde_json::Error),
    /// The object is neither greeting, reply, event nor error.
    #[error("the line is neither greeting, reply, event nor error")]
    UnknownKind,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    data: Option<Value>,
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    r#return: Option<Value>,
    error: Option<ErrorReply>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

impl Timestamp {
    /// QEMU writes -1 for both where its clock failed.
    fn us(&self) -> i64 {
        let us = self.seconds.saturating_mul(1_000_000);
        us.saturating_add(self.microseconds)
    }
}

/// A member that is there, even as `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Parses one line, with or without its end.
///
/// Members that QEMU adds to what QMP documents are ignored.
///
/// # Errors
/// If it is too long, or not a QMP message.
pub fn parse(line: &[u8]) -> Result<Message, ParseError> {
    if line.len() > MAX_LINE_LENGTH {
        return Err(ParseError::TooLong);
    }
    let raw: Raw = serde_json::from_slice(line)?;
    Ok(match raw {
        Raw {
            greeting: Some(greeting),
            ..
        } => Message::Greeting(Greeting::of(&greeting)),
        Raw {
            event: Some(name),
            data,
            timestamp,
            ..
        } => Message::Event(Event {
            name,
            data: data.unwrap_or(Value::Null),
            timestamp_us: timestamp.map(|timestamp| timestamp.us()),
            received_us: None,
        }),
        Raw {
            id: Some(id),
            error: Some(error),
            ..
        } => Message::Reply(Reply {
            id,
            result: Err(error),
        }),
        Raw {
            id: Some(id),
            r#return: Some(value),
            ..
        } => Message::Reply(Reply {
            id,
            result: Ok(value),
        }),
        Raw {
            error: Some(error), ..
        } => Message::Error(error),
        _ => return Err(ParseError::UnknownKind),
    })
}

impl Greeting {
    /// Reads the members that are there: a connection without them is as good.
    fn of(greeting: &Value) -> Self {
        let version = QemuVersion::deserialize(&greeting["version"]["qemu"]).ok();
        let capabilities = Vec::deserialize(&greeting["capabilities"]).unwrap_or_default();
        Self {
            version,
            capabilities,
        }
    }
}

/// Converts what a command returned to its type.
///
/// # Errors
/// If it is of another type than QEMU documents.
pub fn read_return<C: Command>(value: Value) -> Result<C::Return, serde_json::Error> {
    C::Return::deserialize(value)
}

/// A command with its arguments, of any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    name: &'static str,
    arguments: Value,
}

impl Request {
    /// Serializes the arguments of a command.
    ///
    /// # Errors
    /// If they have no JSON form. Those of this package have one.
    pub fn new<C: Command>(command: &C) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: C::NAME,
            arguments: serde_json::to_value(command)?,
        })
    }

    /// Takes arguments that were serialized before.
    pub fn with_arguments<C: Command>(arguments: Value) -> Self {
        let name = C::NAME;
        Self { name, arguments }
    }

    /// Returns QEMU's name of the command.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the arguments, for a client that encodes them by itself.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// Encodes it as one line with its end. The reply will have the same id.
    pub fn encode(&self, id: u64) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a> {
            execute: &'a str,
            arguments: &'a Value,
            id: u64,
        }
        let line = Line {
            execute: self.name,
            arguments: &self.arguments,
            id,
        };
        let mut line = serde_json::to_vec(&line).expect("a `Value` has a JSON form");
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parsed(line: &[u8]) -> Message {
        parse(line).unwrap()
    }

    #[test]
    fn replies_events_and_the_greeting_are_distinguished() {
        let line = br#"{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22},"package":""},"capabilities":["oob"]}}"#;
        let greeting = Greeting {
            version: QemuVersion::parse("version 7.2.22"),
            capabilities: vec!["oob".into()],
        };
        assert_eq!(parsed(line), Message::Greeting(greeting));
        assert_eq!(
            parsed(br#"{"QMP":{}}"#),
            Message::Greeting(Greeting::default())
        );
        let reply = |id, result| Message::Reply(Reply { id, result });
        assert_eq!(
            parsed(br#"{"return": null, "id": 4}"#),
            reply(4, Ok(Value::Null))
        );
        let refusal = ErrorReply {
            class: "New".into(),
            desc: "d".into(),
        };
        assert_eq!(
            parsed(br#"{"error":{"class":"New","desc":"d","hint":1},"id":5}"#),
            reply(5, Err(refusal.clone()))
        );
        assert_eq!(
            parsed(br#"{"error":{"class":"New","desc":"d"}}"#),
            Message::Error(refusal)
        );
        let event = Event {
            name: "X".into(),
            data: json!({"device": "d"}),
            timestamp_us: Some(2_000_003),
            received_us: None,
        };
        let line =
            br#"{"event":"X","data":{"device":"d"},"timestamp":{"seconds":2,"microseconds":3}}"#;
        assert_eq!(parsed(line), Message::Event(event));
    }

    #[test]
    fn other_lines_are_errors() {
        let long = [b"\"".as_slice(), &vec![b'x'; MAX_LINE_LENGTH]].concat();
        assert!(matches!(parse(&long), Err(ParseError::TooLong)));
        let unknown = parse(br#"{"id":1}"#);
        assert!(matches!(unknown, Err(ParseError::UnknownKind)));
        for line in ["", "x", "[]", r#"{"return":1,"id":"a"}"#, "{\"event\":1}"] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(matches!(error, ParseError::Json(_)), "{line}: {error}");
        }
        // Nested values do not exhaust the stack.
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(matches!(parse(&deep), Err(ParseError::Json(_))));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn what_is_encoded_is_one_line_of_json(id: u64, text in "\\PC*|[\\x00-\\x1f]*") {
            let command = crate::command::DeviceDel { id: &text };
            let line = Request::new(&command).unwrap().encode(id);
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            let expected = json!({"execute": "device_del", "arguments": {"id": text}, "id": id});
            prop_assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), expected);
        }
    }
}
