//! Keeps the end of the output of a child.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::thread;

use qmp_client::wait::{Deadline, Watched};

/// Number of bytes that are kept.
const MAX_BYTES: usize = 64 * 1024;

/// A stream that a thread reads to its end, so that the child never blocks. The newest bytes are
/// kept.
#[derive(Debug, Clone)]
pub(crate) struct OutputTail {
    board: Arc<Watched<Bytes>>,
}

#[derive(Debug, Default)]
struct Bytes {
    bytes: Vec<u8>,
    ended: bool,
}

impl OutputTail {
    pub(crate) fn of(name: &str, mut stream: impl Read + Send + 'static) -> std::io::Result<Self> {
        let board = Arc::new(Watched::new(Bytes::default()));
        let filled = Arc::clone(&board);
        thread::Builder::new().name(name.into()).spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => filled.with(|kept| kept.push(&buffer[..read])),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            filled.with(|kept| kept.ended = true);
        })?;
        Ok(Self { board })
    }

    /// Waits for the end of the stream or the deadline, and returns the kept bytes as text.
    pub(crate) fn text(&self, deadline: Deadline) -> String {
        self.board.wait(deadline, |kept| kept.ended.then_some(()));
        self.board
            .with(|kept| String::from_utf8_lossy(&kept.bytes).into_owned())
    }
}

impl Bytes {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(MAX_BYTES);
        self.bytes.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_newest_bytes_are_kept() {
        let mut written = vec![b'a'; MAX_BYTES];
        written.extend_from_slice(b"the end");
        let tail = OutputTail::of("tail", std::io::Cursor::new(written)).unwrap();
        let text = tail.text(Deadline::after(Duration::from_secs(30)));
        assert_eq!(text.len(), MAX_BYTES);
        assert!(text.ends_with("aathe end"));
    }
}
