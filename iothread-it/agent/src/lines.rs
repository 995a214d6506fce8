//! Lines out of a stream of bytes.

/// The longest line that is kept. A request takes some hundred bytes, with a program's variables
/// and arguments up to what the kernel hands to one.
const MAX_LINE_LENGTH: usize = 2 << 20;

/// A piece of the stream that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// A line that was too long to keep: so many bytes.
    TooLong(usize),
}

/// Gathers the line that is not complete yet.
#[derive(Default)]
pub(crate) struct Lines {
    kept: Vec<u8>,
    /// Bytes of the line that came, kept or not.
    came: usize,
}

impl Lines {
    /// Takes what came and returns the lines that it ended.
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

    /// Forgets the line that began: its rest will not come.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn gather(&mut self, piece: &[u8]) {
        let room = MAX_LINE_LENGTH - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        self.came = self.came.saturating_add(piece.len());
    }

    fn end(&mut self) -> Line {
        let line = std::mem::take(self);
        if line.came > MAX_LINE_LENGTH {
            Line::TooLong(line.came)
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
    fn a_line_too_long_does_not_take_the_next_with_it() {
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
    fn a_line_whose_rest_will_not_come_does_not_spoil_the_next() {
        let mut lines = Lines::default();
        lines.feed(b"cut");
        lines.clear();
        assert_eq!(lines.feed(b"whole\n"), [Line::Whole(b"whole".to_vec())]);
    }

    proptest! {
        /// How the stream is cut into reads makes no difference.
        #[test]
        fn cuts_make_no_difference(
            pieces in proptest::collection::vec("[a\n]{0,5}", 0..8),
        ) {
            let mut cut = Lines::default();
            let one_by_one: Vec<_> =
                pieces.iter().flat_map(|piece| cut.feed(piece.as_bytes())).collect();
            prop_assert_eq!(one_by_one, Lines::default().feed(pieces.concat().as_bytes()));
        }
    }
}
