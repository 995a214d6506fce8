//! Forwards what a program writes to a pipe.

use std::collections::VecDeque;
use std::io::{self, Read};

use guest_agent::protocol::{Bytes, Notice, Stream};

/// The maximum size of a notice, in bytes.
const CHUNK: usize = 16 * 1024;

/// How much of the end of an output over its limit is sent: a failed test prints its reason last.
const END: usize = 64 * 1024;

/// Sends what is read from a pipe until its last writer closes it, or more is read after `is_closed`
/// holds. Of more than `limit` bytes, the end is sent last.
pub(crate) fn forward(
    pipe: Option<impl Read>,
    stream: Stream,
    limit: Option<u64>,
    is_closed: &dyn Fn() -> bool,
    send: &(dyn Fn(Notice) + Sync),
) {
    let Some(mut pipe) = pipe else { return };
    let send = |bytes| {
        let bytes = Bytes(bytes);
        send(Notice::Output { stream, bytes });
    };
    let mut room = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut end = VecDeque::new();
    let mut dropped = 0;
    let mut buffer = [0; CHUNK];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            // Closes the pipe: the next write fails.
            Ok(_) if is_closed() => return,
            Ok(length) => {
                let (now, later) = buffer[..length].split_at(length.min(room));
                if !now.is_empty() {
                    send(now.to_vec());
                }
                if limit.is_some() {
                    room -= now.len();
                }
                end.extend(later);
                let excess = end.len().saturating_sub(END);
                end.drain(..excess);
                dropped += excess;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if dropped > 0 {
        send(format!("\n[{dropped} bytes of output were dropped]\n").into_bytes());
    }
    let end = Vec::from(end);
    end.chunks(CHUNK).for_each(|chunk| send(chunk.to_vec()));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn forwarded(text: &[u8], limit: Option<u64>) -> Vec<u8> {
        let sent = Mutex::new(Vec::new());
        forward(Some(text), Stream::Stdout, limit, &|| false, &|notice| {
            let Notice::Output { bytes, .. } = notice else {
                panic!("{notice:?}")
            };
            sent.lock().unwrap().extend(bytes.0);
        });
        sent.into_inner().unwrap()
    }

    #[test]
    fn the_middle_of_a_long_output_is_dropped_with_a_note() {
        let text: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(forwarded(&text, None), text);
        assert_eq!(forwarded(&text, Some(1_000_000)), text);
        let start = text.len() - END - 10;
        assert_eq!(forwarded(&text, Some(start as u64 + 10)), text);
        let short = forwarded(&text, Some(start as u64));
        let note = b"\n[10 bytes of output were dropped]\n".to_vec();
        assert!(short == [&text[..start], &note, &text[start + 10..]].concat());
    }
}
