//! The end of what a child has written.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::thread;

use qmp_client::wait::{Board, Deadline};

/// Bytes kept at the most.
const KEPT: usize = 64 * 1024;

/// A stream read by a thread of its own, so that the child never blocks on it. The newest bytes
/// are kept.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    board: Arc<Board<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    ended: bool,
}

impl Tail {
    pub(crate) fn of(name: &str, mut stream: impl Read + Send + 'static) -> std::io::Result<Self> {
        let board = Arc::new(Board::new(Kept::default()));
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

    /// Returns what is kept, once the stream has ended or the deadline has passed.
    pub(crate) fn text(&self, deadline: Deadline) -> String {
        self.board.wait(deadline, |kept| kept.ended.then_some(()));
        self.board
            .with(|kept| String::from_utf8_lossy(&kept.bytes).into_owned())
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_newest_bytes_are_kept() {
        let mut written = vec![b'a'; KEPT];
        written.extend_from_slice(b"the end");
        let tail = Tail::of("tail", std::io::Cursor::new(written)).unwrap();
        let text = tail.text(Deadline::after(Duration::from_secs(30)));
        assert_eq!(text.len(), KEPT);
        assert!(text.ends_with("aathe end"));
    }
}
