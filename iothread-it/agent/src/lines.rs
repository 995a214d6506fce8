//! Splits a stream of bytes into lines.

/// The longest line that is kept, in bytes. A request has some hundred bytes, or, with a program's
/// variables and arguments, up to the kernel's limit for these.
const MAX_LINE_LENGTH: usize = 2 << 20;

/// A line that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its line break.
    Whole(Vec<u8>),
    /// A line that was too long to keep, with its length in bytes.
    TooLong(usize),
}

/// The line that has not ended yet.
#[derive(Default)]
pub(crate) struct Lines {
    kept: Vec<u8>,
    /// The length of the line until now, including discarded bytes.
    length: usize,
}

impl Lines {
    /// Takes bytes, and returns the lines that end in them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        // `split` returns at least one piece, and the last one has no end yet.
        let rest = pieces.next_back().unwrap_or_default();
        let lines = pieces
            .map(|piece| {
                self.gather(piece);
                self.end()
            })
            .collect();
        self.gather(rest);
        lines
    }

    /// Drops the line that has begun, since its rest will not arrive.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn gather(&mut self, piece: &[u8]) {
        let room = MAX_LINE_LENGTH - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        self.length = self.length.saturating_add(piece.len());
    }

    fn end(&mut self) -> Line {
        let line = std::mem::take(self);
        if line.length > MAX_LINE_LENGTH {
            Line::TooLong(line.length)
        } else {
            Line::Whole(line.kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_line_after_a_line_too_long_is_kept() {
        let mut lines = Lines::default();
        assert!(lines.feed(&vec![b'x'; MAX_LINE_LENGTH]).is_empty());
        assert_eq!(
            lines.feed(b"x\nnext\n"),
            [
                Line::TooLong(MAX_LINE_LENGTH + 1),
                Line::Whole(b"next".to_vec())
            ]
        );
    }

    #[test]
    fn the_longest_line_is_kept() {
        let mut bytes = vec![b'x'; MAX_LINE_LENGTH];
        bytes.push(b'\n');
        assert_eq!(
            Lines::default().feed(&bytes),
            [Line::Whole(vec![b'x'; MAX_LINE_LENGTH])]
        );
    }

    #[test]
    fn a_line_is_dropped_by_clear() {
        let mut lines = Lines::default();
        lines.feed(b"cut");
        lines.clear();
        assert_eq!(lines.feed(b"whole\n"), [Line::Whole(b"whole".to_vec())]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_sizes_of_reads(
            pieces in proptest::collection::vec("[a\n]{0,5}", 0..8),
        ) {
            let mut cut = Lines::default();
            let one_by_one: Vec<_> =
                pieces.iter().flat_map(|piece| cut.feed(piece.as_bytes())).collect();
            prop_assert_eq!(one_by_one, Lines::default().feed(pieces.concat().as_bytes()));
        }
    }
}
