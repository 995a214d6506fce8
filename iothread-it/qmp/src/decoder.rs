//! A stream of bytes, split into messages.

use crate::codec::{MAX_LINE_LENGTH, Message, ParseError, parse};

/// Splits a stream of bytes into messages. It holds at most one unfinished line of
/// [`MAX_LINE_LENGTH`] bytes, and what was fed beyond it.
///
/// ```
/// use qmp_client::codec::Message;
/// use qmp_client::Decoder;
///
/// let mut decoder = Decoder::default();
/// decoder.feed(b"{\"event\":\"STOP\"}\n{\"event\":\"RES");
/// assert!(matches!(decoder.next_message(), Some(Ok(Message::Event(event))) if event.name == "STOP"));
/// assert!(decoder.next_message().is_none());
/// decoder.feed(b"UME\"}\n");
/// assert!(matches!(decoder.next_message(), Some(Ok(Message::Event(event))) if event.name == "RESUME"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// The start of the next line in the buffer.
    start: usize,
    /// Up to here there is no end of a line after the start.
    searched: usize,
}

impl Decoder {
    /// Adds bytes that were received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message, or `None` if its line is not complete. After a line that is not a
    /// message come the messages that follow it, but after [`ParseError::TooLong`] that error again:
    /// close the connection.
    pub fn next_message(&mut self) -> Option<Result<Message, ParseError>> {
        let end = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|end| self.searched + end + 1);
        self.searched = end.unwrap_or(self.buffer.len());
        if self.searched - self.start > MAX_LINE_LENGTH {
            self.searched = self.start;
            return Some(Err(ParseError::TooLong));
        }
        let line = &self.buffer[self.start..end?];
        let message = parse(line);
        self.start = self.searched;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlong_line_is_an_error_for_good() {
        let mut decoder = Decoder::default();
        decoder.feed(b"{\"event\":\"A\"}\n");
        decoder.feed(&vec![b'x'; MAX_LINE_LENGTH]);
        assert!(matches!(decoder.next_message(), Some(Ok(_))));
        assert!(decoder.next_message().is_none());
        decoder.feed(b"y");
        for more in [b"z", b"\n"] {
            let error = decoder.next_message();
            assert!(matches!(error, Some(Err(ParseError::TooLong))), "{error:?}");
            decoder.feed(more);
        }
    }

    proptest! {
        /// However the stream is cut, the messages are those of its lines.
        #[test]
        fn cuts_do_not_matter(
            lines in prop::collection::vec("\\{\"event\":\"[A-Z]{1,9}\"\\}|\\{\\}|x|", 0..20),
            cuts in prop::collection::vec(0usize..30, 0..40),
        ) {
            let stream: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let show = |message: Result<Message, ParseError>| format!("{message:?}");
            let expected: Vec<_> = lines.iter().map(|line| show(parse(format!("{line}\n").as_bytes()))).collect();
            let mut decoder = Decoder::default();
            let mut rest = stream.as_bytes();
            let mut found = Vec::new();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (part, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                decoder.feed(part);
                // Not every feed is followed by a look.
                if cut % 3 != 0 {
                    found.extend(std::iter::from_fn(|| decoder.next_message()).map(show));
                }
            }
            found.extend(std::iter::from_fn(|| decoder.next_message()).map(show));
            prop_assert_eq!(found, expected);
        }
    }
}
