//! What host and guest agent send each other: lines out of a stream, and the messages in them.

#![no_main]

#[allow(dead_code, reason = "the agent uses the rest")]
#[path = "../../../iothread-it/agent/src/lines.rs"]
mod lines;

use guest_agent::protocol::{Message, Request, decode, encode};
use libfuzzer_sys::fuzz_target;
use lines::{Line, Lines};
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|stream: &[u8]| {
    let whole = Lines::default().feed(stream);
    let mut cut = Lines::default();
    let pieces: Vec<Line> = stream.chunks(7).flat_map(|piece| cut.feed(piece)).collect();
    assert_eq!(whole, pieces, "the lines depend on how the stream was cut");
    for line in whole {
        if let Line::Whole(line) = line {
            round_trip::<Message>(&line);
            round_trip::<Request>(&line);
        }
    }
});

fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(line: &[u8]) {
    if let Ok(message) = decode::<T>(line) {
        let encoded = encode(&message);
        assert_eq!(encoded.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(decode::<T>(&encoded).expect("a message"), message);
    }
}
